"""Live against birder: its networks, numbers of networks drawn at random, its pictures, and the way back through its loaders."""

import json
import random
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
import torch
from birder.common import fs_ops
from birder.common.lib import get_network_config
from birder.data.transforms.classification import inference_preset
from birder.model_registry import registry
from birder.net.vit import ViT
from PIL import Image

import vitjax
from tests.recipe import uniform
from tests.reference.make_birder import RGB, beside, build, feature_maps, run
from tests.reference.test_preprocess import PHOTOGRAPHS, photograph
from tests.test_parity import assert_close, assert_stages
from vitjax.config import Preprocess, hw
from vitjax.converters import export
from vitjax.converters.birder import BIRDER
from vitjax.converters.birder_settings import config_of
from vitjax.converters.mapping import slots
from vitjax.model import shapes
from vitjax.preprocess import preprocess
from vitjax.variants import BIRDER as ROWS
from vitjax.variants import REFUSED, WEIGHTS, parameters, resolve, spec
from vitjax.verify import SMALL

NETWORKS = {name: net for name, net in registry.all_nets.items() if net.__mro__[1] is ViT and name.startswith("vit_")}
PUBLISHED = {name: row for name, row in WEIGHTS.items() if row.dialect == "birder"}
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_birders(name):
    assert replace(config_of(NETWORKS[name].config, hw(NETWORKS[name].default_size)), drop_path=0.0) == ROWS[name]
    with torch.device("meta"):
        theirs = registry.net_factory(name, 1000).state_dict()
    ours = slots(BIRDER.rules(ROWS[name]), shapes(ROWS[name]))
    assert {slot.theirs: slot.shape for slot in ours} == {key: tuple(tensor.shape) for key, tensor in theirs.items()}
    assert parameters(ROWS[name]) == sum(tensor.numel() for tensor in theirs.values())


def test_no_network_is_forgotten():
    assert {name for name in NETWORKS if not any(fnmatchcase(name, pattern) for pattern in REFUSED)} == set(ROWS)


def test_published_weights_are_birders():
    published = {name: data for name, data in registry._pretrained_nets.items() if data["net"]["network"] in ROWS}
    assert set(PUBLISHED) == set(published)
    for name, data in published.items():
        ours, file = spec(name), data["formats"]["pt"]
        assert (PUBLISHED[name].architecture, hw(ours.config.image)) == (data["net"]["network"], data["resolution"])
        assert hw(ours.preprocess.size) == data["resolution"] and ours.source.sha256 == file["sha256"]
        owner, repository = data["url"].split("/")[3:5]
        assert ours.source.origin in (f"hf:{owner}/{name}", f"{data['url']}/{name}.pt")
        assert ours.source.origin.startswith("http") == (repository != name)
        assert resolve(f"{owner}/{name}") == name
        # the classes, as far as the size of the file tells: it is rounded to 0.1 MiB, and has names and headers, too
        assert -60_000 < file["file_size"] * 2**20 - 4 * parameters(ours.config) < 60_000 + 6_000 * ours.config.depth, name


def draw(seed: int) -> tuple[str, dict[str, Any], int, tuple[int, int]]:
    """A network, and how a file says that it differs: every switch that birder's config can hold, thrown at random."""
    rng = random.Random(seed)
    maybe = lambda share=0.5: rng.random() < share  # noqa: E731
    patch, heads, swiglu = rng.choice([2, 4, 7]), rng.randint(2, 5), rng.random() < 0.4
    config = {
        "patch_size": patch,
        "hidden_dim": heads * rng.choice([8, 12, 16]),
        "num_layers": rng.randint(1, 3),
        "num_heads": heads,
        "mlp_dim": rng.randint(20, 80),
        "class_token": maybe(0.7),
        "num_reg_tokens": rng.choice([0, 1, 3]),
        "abs_pos_embed": maybe(0.8),
        "pos_embed_special_tokens": maybe(),
        "pos_embed_antialias": maybe(),
        "pre_norm": maybe(0.3),
        "post_norm": maybe(0.8),
        "norm_after_pool": maybe(),
        "norm_layer_eps": rng.choice([1e-6, 1e-5]),
        "qkv_bias": maybe(),
        "qk_norm": maybe(0.3),
        "attn_norm": maybe(0.3),
        "attn_pool_head": maybe(0.3),
        "attn_pool_special_tokens": maybe(),
        "attn_pool_norm_eps": rng.choice([1e-6, 1e-5]),
        "attn_pool_act_layer_type": rng.choice(["gelu", "gelu_tanh"]),
        "mlp_layer_type": rng.choice(["SwiGLU_FFN", "Norm_SwiGLU_FFN"]) if swiglu else "FFN",
        "act_layer_type": rng.choice([None, "gelu", "gelu_tanh", "quick_gelu", "silu"]),
        "layer_scale_init_value": rng.choice([None, 1e-5]),
        "dropout": rng.choice([0.0, 0.1]),
        "drop_path_rate": rng.choice([0.0, 0.2]),
        "head_bias": maybe(),
    }
    size = (rng.randint(2, 5) * patch, rng.randint(2, 5) * patch)
    return rng.choice(["vit_b16", "vit_reg4_s14_nps_ls", "vit_l14_pn_quick_gelu"]), config, rng.choice([0, 5]), size


@pytest.mark.parametrize("seed", range(16))
def test_any_network_there_and_back(seed, tmp_path):
    name, config, classes, size = draw(seed)
    model = build(name, config, classes, size)
    data, x = beside(model, config), uniform("input", (2, *size, 3)) / 8
    file = tmp_path / f"theirs.{'pt' if seed % 2 else 'safetensors'}"
    if seed % 2:
        torch.save({"state": model.state_dict(), **data}, file)
    else:
        fs_ops.save_st(model, str(file), model.task, data["class_to_idx"], data["signature"], RGB, external_config=config)

    ours, stages = vitjax.load(file, variant=name), run(model, x)
    assert_stages(ours, {"input": x} | {f"stage/{stage}": array for stage, array in stages.items()})
    assert_close(ours(x), stages.get("logits", stages["pooled"]))
    assert_close(ours.feature_maps(x)[0], feature_maps(model, x)[0])

    folder = tmp_path / "ours"
    export(ours.spec, ours.params, folder, "birder")
    plain, info = fs_ops.load_model(CPU, "vit_b16", path=folder / "model.safetensors", st=True, inference=True)
    built, _ = fs_ops.load_model_with_cfg(folder / "config.json", folder / "model.safetensors")
    assert (info.class_to_idx, info.signature, info.rgb_stats) == (data["class_to_idx"], data["signature"], RGB)
    for back in plain, built.eval():
        state = BIRDER.respell(model.state_dict(), ours.config)  # a dropout, which a network that is run has not, shifts a name
        assert back.state_dict().keys() == state.keys()
        assert all(torch.equal(back.state_dict()[key], tensor) for key, tensor in state.items())
        for stage, array in run(back, x).items():  # the same network, too; the last bits depend on where in memory tensors lie
            assert np.abs(array - stages[stage]).max() <= SMALL * np.abs(stages[stage]).max(), stage

    other = (size[0] + 2 * config["patch_size"], size[1] - config["patch_size"])
    model.adjust_size(other)
    x = uniform("input", (2, *other, 3)) / 8
    resized = vitjax.load(file, variant=name, image=other)
    assert_stages(resized, {"input": x, "stage/tokens": run(model, x)["tokens"]})


def test_a_config_file_of_birders_is_enough(tmp_path):
    model = build("vit_reg4_b16", {"patch_size": 4, "hidden_dim": 24, "num_layers": 1, "mlp_dim": 30}, 3, (8, 12))
    data = beside(model, {})
    (tmp_path / "config.json").write_text(json.dumps(get_network_config(model, data["signature"], RGB)))
    torch.save({"state": model.state_dict()}, tmp_path / "weights.pt")
    x = uniform("input", (2, 8, 12, 3)) / 8
    assert_close(vitjax.load(tmp_path)(x), run(model, x)["logits"])


@pytest.mark.parametrize("name", PHOTOGRAPHS[:8])
def test_photographs(name):
    with Image.open(photograph(name)) as file:
        image = file.convert("RGB")
    for size in (224, 224), (37, 64):
        theirs = inference_preset(size, RGB)(image).permute(1, 2, 0).numpy()
        how = Preprocess(size, 1.0, "squash", "bicubic", tuple(RGB["mean"]), tuple(RGB["std"]))
        np.testing.assert_allclose(preprocess(image, how)[0], theirs, rtol=0, atol=1e-6)
