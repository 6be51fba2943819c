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


EVAS = ("eva_giant_patch14_224", "eva02_tiny_patch14_224", "eva02_base_patch14_224", "eva02_base_patch16_clip_224")


def draw_eva(seed: int) -> tuple[str, dict[str, Any]]:
    """The same of `Eva`, whose switches are all arguments."""
    rng = random.Random(1000 + seed)
    patch, heads, cls = rng.choice([2, 4, 7]), rng.randint(2, 5), rng.random() < 0.7
    maybe = lambda share=0.5: rng.random() < share  # noqa: E731
    after, pool = rng.choice([None, True, False]), rng.choice(["avg", "map"] + ["token"] * cls)
    post, align, biased = maybe(0.2), rng.choice([0, 0, 1, 8]), maybe(0.8)
    return EVAS[seed % len(EVAS)], {
        "img_size": (rng.randint(2, 5) * patch + rng.randrange(patch), rng.randint(2, 5) * patch + rng.randrange(patch)),
        "patch_size": patch,
        "embed_dim": heads * rng.choice([8, 12, 16]),
        "depth": rng.randint(1, 3),
        "num_heads": heads,
        "mlp_ratio": rng.choice([1.0, 2.0, 8 / 3]),
        "num_classes": rng.choice([0, 5]),
        "global_pool": pool,
        "class_token": cls,
        "num_reg_tokens": rng.choice([0, 1, 3]),
        "no_embed_class": maybe(),
        "use_abs_pos_emb": maybe(0.8),
        "use_rot_pos_emb": maybe() or not biased,  # else it is a VisionTransformer, too, and goes back as one: see below
        "ref_feat_shape": rng.choice([None, 3, (4, 6), (16, 16)]),
        "use_pre_transformer_norm": maybe(0.3),
        "use_fc_norm": after,
        # both norms are one too many
        "use_post_transformer_norm": rng.choice([None, False] + [True] * (not (pool == "avg" if after is None else after))),
        "qkv_bias": biased,
        "qkv_fused": maybe(),
        "qk_norm": maybe(0.3) and not post,
        "scale_attn_inner": maybe(0.3),
        "scale_mlp": maybe(),
        "swiglu_mlp": maybe(0.7),
        "swiglu_align_to": 0 if pool == "map" else align,  # of attention pooling the width is not rounded
        "use_post_norm": post,
        "init_values": rng.choice([None, 0.0, 1e-5, 0.3]),
    }


DRAWN = [(f"vit {seed}", *draw(seed)) for seed in range(16)] + [(f"eva {seed}", *draw_eva(seed)) for seed in range(32)]


@pytest.mark.parametrize(("base", "args"), [drawn[1:] for drawn in DRAWN], ids=[drawn[0] for drawn in DRAWN])
def test_any_network_there_and_back(base, args, tmp_path):
    model = build(base, **{key: value for key, value in args.items() if value is not None})
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


@pytest.mark.parametrize("scale", [None, 0.0, 0.3])
def test_an_eva_that_is_a_vision_transformer_goes_back_as_one(scale, tmp_path):
    sizes = {"img_size": (16, 12), "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 7}
    args = {"qkv_bias": False, "use_rot_pos_emb": False, "class_token": False, "init_values": scale}
    model = timm.create_model("eva02_tiny_patch14_224", **sizes, **args).eval()
    with torch.no_grad():
        [parameter.copy_(torch.from_numpy(uniform(name, parameter.shape))) for name, parameter in model.named_parameters()]
    x = uniform("input", (2, 16, 12, 3)) / 8
    stages = run(model, x)
    save_for_hf(model, tmp_path / "theirs", safe_serialization=True)
    ours = vitjax.load(tmp_path / "theirs")
    assert_stages(ours, {"input": x} | {f"stage/{name}": stage for name, stage in stages.items()})
    export(ours.spec, ours.params, tmp_path / "ours")
    back = timm.create_model(f"local-dir:{tmp_path / 'ours'}", pretrained=True).eval()
    assert type(back).__name__ == "VisionTransformer"
    for name, stage in run(back, x).items():
        np.testing.assert_array_equal(stage, stages[name], name)
