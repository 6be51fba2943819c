"""Live against timm: the names of its tensors, the numbers of networks drawn at random, and the way back."""

import json
import random
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.data import resolve_data_config
from timm.models._hub import save_for_hf

import vitjax
from tests.recipe import uniform
from tests.reference.make_timm import build, feature_maps, run
from tests.test_parity import assert_close, assert_stages
from vitjax.converters import export
from vitjax.converters.mapping import slots
from vitjax.converters.timm import TIMM
from vitjax.model import shapes
from vitjax.variants import VARIANTS


@pytest.mark.parametrize("name", [name for name in VARIANTS if timm.is_model(name)])
def test_every_tensor_of_every_row_is_timms(name):
    with torch.device("meta"):
        theirs = timm.create_model(name).state_dict()
    ours = slots(TIMM.rules(VARIANTS[name]), shapes(VARIANTS[name]))
    assert {slot.theirs: slot.shape for slot in ours} == {key: tuple(tensor.shape) for key, tensor in theirs.items()}
    assert len(ours) == len(theirs)


# Rows between which no argument can choose: LayerNorm's eps, and the kind of MLP and Block.
BASES = ("vit_base_patch16_224", "vit_base_patch16_clip_224", "vit_giant_patch14_dinov2", "vit_base_patch16_rpn_224")


def draw(seed: int) -> tuple[str, dict[str, Any]]:
    """An architecture and its arguments: every switch that timm's config.json can hold, thrown at random."""
    rng = random.Random(seed)
    base, patch, heads, cls = BASES[seed % len(BASES)], rng.choice([2, 4, 7]), rng.randint(2, 5), rng.random() < 0.7
    maybe = lambda share=0.5: rng.random() < share  # noqa: E731
    # Attention pooling has an MLP as wide as both halves of a packed one: no published network has both, nor can we.
    pools = ["avg"] + ["token"] * cls + ["map"] * ("giant" not in base)
    return base, {
        "img_size": (rng.randint(2, 5) * patch + rng.randrange(patch), rng.randint(2, 5) * patch + rng.randrange(patch)),
        "patch_size": patch,
        "embed_dim": heads * rng.choice([8, 12, 16]),  # a norm over fewer numbers amplifies rounding
        "depth": rng.randint(1, 3),
        "num_heads": heads,
        "mlp_ratio": rng.choice([1.0, 2.0, 4.0, 2.5 if "giant" in base else 8 / 3]),  # two halves: an even number
        "num_classes": rng.choice([0, 5]),
        "global_pool": rng.choice(pools),
        "class_token": cls,
        "reg_tokens": rng.choice([0, 1, 3]),
        "no_embed_class": maybe(),
        "pos_embed": "learn" if maybe(0.8) else "none",
        "pre_norm": maybe(0.3),
        "final_norm": maybe(0.8),
        "fc_norm": rng.choice([None, True, False]),
        "pool_include_prefix": maybe(),
        "qkv_bias": maybe(),
        "proj_bias": maybe(0.8),
        "qk_norm": maybe(),
        "scale_attn_norm": maybe(0.3),
        "scale_mlp_norm": maybe(0.3),
        # where norms follow the branches, timm gives it to them as their first scale
        "init_values": None if base.endswith("rpn_224") else rng.choice([None, 1e-5, 0.3]),
        "act_layer": rng.choice(["gelu", "gelu_tanh", "quick_gelu", "silu"]),
    }


@pytest.mark.parametrize("seed", range(16))
def test_any_network_there_and_back(seed, tmp_path):
    base, args = draw(seed)
    model = build(base, **args)
    x = uniform("input", (2, *args["img_size"], 3)) / 8
    save_for_hf(model, tmp_path / "theirs", safe_serialization=True)

    ours = vitjax.load(tmp_path / "theirs")
    stages = run(model, x)
    assert_stages(ours, {"input": x} | {f"stage/{name}": stage for name, stage in stages.items()})
    assert_close(ours(x), stages.get("logits", stages["pooled"]))
    for norm in False, True:
        theirs = feature_maps(model, x, norm)
        for mine, reference in zip(ours.feature_maps(x, range(len(theirs)), norm), theirs, strict=True):
            assert_close(mine, reference)

    export(ours.spec, ours.params, tmp_path / "ours")
    again, back = (timm.create_model(f"local-dir:{tmp_path / side}", pretrained=True).eval() for side in ("theirs", "ours"))
    assert list(back.state_dict()) == list(model.state_dict())
    for key, tensor in model.state_dict().items():
        assert torch.equal(back.state_dict()[key], tensor), key
    assert json.dumps(resolve_data_config(model=back)) == json.dumps(resolve_data_config(model=again))
    for name, stage in run(back, x).items():
        np.testing.assert_array_equal(stage, stages[name], name)  # the same network, not only the same tensors

    other = (args["img_size"][0] + 2 * args["patch_size"], args["img_size"][1] - args["patch_size"])
    model.set_input_size(other)
    x = uniform("input", (2, *other, 3)) / 8
    assert_stages(vitjax.load(tmp_path / "theirs", image=other), {"input": x, "stage/tokens": run(model, x)["tokens"]})
