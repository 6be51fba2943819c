"""Live against timm's own reading of Google's files, and scipy's zoom, which resamples their positions."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch

import vitjax
from tests.recipe import uniform
from tests.reference.make_timm import build, run
from tests.test_google import opened
from tests.test_parity import assert_close, assert_stages
from vitjax import ViTConfig
from vitjax.converters import export
from vitjax.variants import VARIANTS

KINDS = ("token", "tok", "gap", "map")


def draw(seed: int) -> tuple[str, ViTConfig]:
    rng = random.Random(seed)
    patch, heads, kind = rng.choice([2, 4, 7]), rng.randint(2, 5), KINDS[seed % len(KINDS)]
    side = rng.randint(2, 5) * patch
    width = heads * rng.choice([8, 12, 16])
    cls = kind in ("token", "tok")
    return kind, ViTConfig(
        side,
        patch,
        width,
        rng.randint(1, 4),
        heads,
        width * rng.choice([1, 2, 4]),
        rng.choice([0, 5]),
        act=rng.choice(["gelu", "gelu_tanh"]),
        cls=cls,
        positions="patches" if kind == "tok" else "all",
        pool={"gap": "mean", "map": "map"}.get(kind, "token"),
        interpolation="bilinear",
    )


def published(kind: str, cfg: ViTConfig, stacked: bool) -> dict[str, np.ndarray]:
    """The tensors of such a file, by the shapes that Google's code gives them; the names as timm's loader expects them."""
    width, head = cfg.width, cfg.width // cfg.heads
    old = kind == "token"
    attention, norm, mlp = ("MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3") if old else (
        "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0")  # fmt: skip
    layer = {
        **{f"{x}/{leaf}": (width,) for x in ("LayerNorm_0", norm) for leaf in ("scale", "bias")},
        **{f"{attention}/{x}/kernel": (width, cfg.heads, head) for x in ("query", "key", "value")},
        **{f"{attention}/{x}/bias": (cfg.heads, head) for x in ("query", "key", "value")},
        f"{attention}/out/kernel": (cfg.heads, head, width),
        f"{attention}/out/bias": (width,),
        f"{mlp}/Dense_0/kernel": (width, cfg.mlp),
        f"{mlp}/Dense_0/bias": (cfg.mlp,),
        f"{mlp}/Dense_1/kernel": (cfg.mlp, width),
        f"{mlp}/Dense_1/bias": (width,),
    }
    patches = cfg.grid[0] * cfg.grid[1]
    where = "Transformer/posembed_input/pos_embedding" if old else "pos_embedding"
    shapes = {
        "embedding/kernel": (cfg.patch, cfg.patch, 3, width),
        "embedding/bias": (width,),
        where: (1, patches + old, width),
        "Transformer/encoder_norm/scale": (width,),
        "Transformer/encoder_norm/bias": (width,),
    }
    shapes |= {"cls": (1, 1, width)} if cfg.cls else {}
    shapes |= {"head/kernel": (width, cfg.classes), "head/bias": (cfg.classes,)} if cfg.classes else {}
    if kind == "map":
        shapes |= {f"MAPHead_0/{name}": shape for name, shape in layer.items() if norm not in name}
        shapes |= {"MAPHead_0/probe": (1, 1, width)}
    if stacked:
        shapes |= {f"Transformer/encoderblock/{name}": (cfg.depth, *shape) for name, shape in layer.items()}
    else:
        shapes |= {f"Transformer/encoderblock_{i}/{name}": s for i in range(cfg.depth) for name, s in layer.items()}
    return {name: noise(name, shape) for name, shape in shapes.items()}


def noise(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Noise as of tests/recipe.py, on the scale of what a tensor is."""
    array = uniform(name, shape)
    if name.endswith("scale"):
        return np.float32(1.5) + array / 2
    return array / np.float32(np.sqrt(shape[-1] * 2) if name.endswith("kernel") else 8)


def timms(kind: str, cfg: ViTConfig, file: Path) -> torch.nn.Module:
    model = build(
        "vit_base_patch16_224",
        img_size=cfg.image, patch_size=cfg.patch, embed_dim=cfg.width, depth=cfg.depth, num_heads=cfg.heads,
        mlp_ratio=cfg.mlp / cfg.width, num_classes=cfg.classes, act_layer=cfg.act, class_token=cfg.cls,
        no_embed_class=kind == "tok", global_pool={"gap": "avg", "map": "map"}.get(kind, "token"), fc_norm=False,
    )  # fmt: skip
    model.load_pretrained(str(file))
    return model.eval()


@pytest.mark.parametrize("seed", range(16))
def test_any_file_as_timm_reads_it(seed, tmp_path, monkeypatch):
    kind, cfg = draw(seed)
    prefix = {"gap": "params/", "map": "params/img/"}.get(kind, "opt/target/" if seed % 3 else "")
    stacked = kind != "token" and seed % 2 == (seed // 4) % 2
    state = {prefix + name: array for name, array in published(kind, cfg, stacked).items()}
    np.savez(tmp_path / "x.npz", **state)
    model, x = timms(kind, cfg, tmp_path / "x.npz"), uniform("input", (2, cfg.image, cfg.image, 3)) / 8
    reference = {"input": x} | {f"stage/{name}": stage for name, stage in run(model, x).items()}

    ours = opened(tmp_path / "x.npz", config=cfg)
    assert_stages(ours, reference)
    assert_close(ours(x), reference.get("stage/logits", reference["stage/pooled"]))

    row = ViTConfig(cfg.image, cfg.patch, cfg.width, cfg.depth, cfg.heads, cfg.mlp, cfg.classes, act=cfg.act)
    monkeypatch.setitem(VARIANTS, "vit_small_row", row)
    assert opened(tmp_path / "x.npz", variant="vit_small_row").config == replace(cfg, act="gelu_tanh")
    as_timm = opened(tmp_path / "x.npz", variant="vit_small_row", reference="timm")
    assert as_timm.config == replace(cfg, interpolation="cubic")
    assert_stages(as_timm, reference)

    export(ours.spec, ours.params, tmp_path / "out.npz", "google")
    back = timms(kind, cfg, tmp_path / "out.npz").state_dict()
    assert all(torch.equal(back[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("seed", range(4))
def test_positions_for_another_size_are_zoomed_as_google_does(seed, tmp_path):
    """vit_jax/checkpoint.py and big_vision's models/vit.py: scipy.ndimage.zoom of order 1."""
    kind, cfg = draw(seed)
    np.savez(tmp_path / "x.npz", **published(kind, cfg, False))
    old, side = cfg.grid[0], cfg.grid[0] + 3
    before, after = (
        np.asarray(vitjax.load(tmp_path / "x.npz", config=cfg, image=size).params["positions"])
        for size in (None, side * cfg.patch)
    )
    lead = len(before) - old**2
    zoomed = scipy.ndimage.zoom(before[lead:].reshape(old, old, -1), (side / old, side / old, 1), order=1)
    np.testing.assert_allclose(after[lead:].reshape(side, side, -1), zoomed, atol=1e-6)
    np.testing.assert_array_equal(after[:lead], before[:lead])
