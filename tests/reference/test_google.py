"""Live against timm's and open_clip's own reading of Google's files, and scipy's zoom, which resamples their positions."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import scipy.ndimage
import torch
from open_clip.convert import load_big_vision_weights

import vitjax
from tests.recipe import uniform
from tests.reference.make_timm import build, run
from tests.test_google import opened
from tests.test_parity import assert_close, assert_stages
from vitjax import CLIPConfig, TextConfig, ViTConfig
from vitjax.converters import export
from vitjax.variants import VARIANTS

KINDS = ("token", "tok", "gap", "map")
OLD = "MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3"
NEW = "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"
Shapes = dict[str, tuple[int, ...]]


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
    width, old = cfg.width, kind == "token"
    layer = block(cfg, OLD if old else NEW)
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
        shapes |= {f"MAPHead_0/{name}": shape for name, shape in layer.items() if "LayerNorm_1" not in name}
        shapes |= {"MAPHead_0/probe": (1, 1, width)}
    shapes |= blocks("Transformer", cfg, layer, stacked)
    return {name: noise(name, shape) for name, shape in shapes.items()}


def block(cfg: ViTConfig | TextConfig, names: tuple[str, str, str]) -> Shapes:
    """What a block has, by its modules' names."""
    (attention, norm, mlp), width, head = names, cfg.width, cfg.width // cfg.heads
    return {
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


def blocks(encoder: str, cfg: ViTConfig | TextConfig, layer: Shapes, stacked: bool) -> Shapes:
    if stacked:
        return {f"{encoder}/encoderblock/{name}": (cfg.depth, *shape) for name, shape in layer.items()}
    return {f"{encoder}/encoderblock_{i}/{name}": s for i in range(cfg.depth) for name, s in layer.items()}


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


# Two towers.


def texts(cfg: TextConfig, stacked: bool) -> dict[str, np.ndarray]:
    """The tensors of a tower of texts, as big_vision's text_transformer.py shapes them."""
    shapes = {
        "Embed_0/embedding": (cfg.vocab, cfg.width),
        "pos_embedding": (1, cfg.context, cfg.width),
        "Encoder_0/encoder_norm/scale": (cfg.width,),
        "Encoder_0/encoder_norm/bias": (cfg.width,),
        "head/kernel": (cfg.width, cfg.classes),
        "head/bias": (cfg.classes,),
    }
    shapes |= blocks("Encoder_0", cfg, block(cfg, NEW), stacked)
    return {name: noise(f"txt/{name}", shape) for name, shape in shapes.items()}


def draw_pair(seed: int) -> CLIPConfig:
    image = replace(draw(4 * seed + KINDS.index("map"))[1], classes=0)
    rng = random.Random(seed)
    heads = rng.randint(1, 4)
    width = heads * rng.choice([8, 12])
    sizes = (rng.randint(2, 9), rng.randint(5, 30), width, rng.randint(1, 4), heads, width * rng.choice([1, 2, 4]), image.width)
    act = rng.choice(["gelu", "gelu_tanh"])
    return CLIPConfig(image, TextConfig(*sizes, causal=False, pool="last", head_bias=True, act=act, eps=1e-6), sigmoid=True)


def open_clips(cfg: CLIPConfig, file: Path) -> open_clip.CustomTextCLIP:
    """open_clip's SigLIP of these sizes, with a file's numbers: its picture's tower is timm's, which it only makes full-size."""
    said = {
        "context_length": cfg.text.context, "vocab_size": cfg.text.vocab, "width": cfg.text.width, "heads": cfg.text.heads,
        "layers": cfg.text.depth, "mlp_ratio": cfg.text.mlp / cfg.text.width, "no_causal_mask": True, "proj_bias": True,
        "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
        "act_kwargs": {"approximate": "tanh"} if cfg.text.act == "gelu_tanh" else None,
    }  # fmt: skip
    vision = {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "none"}
    model = open_clip.CustomTextCLIP(cfg.image.width, vision, said, init_logit_bias=-10)
    model.visual.trunk = build(
        "vit_base_patch16_siglip_224",
        img_size=cfg.image.image, patch_size=cfg.image.patch, embed_dim=cfg.image.width, depth=cfg.image.depth,
        num_heads=cfg.image.heads, mlp_ratio=cfg.image.mlp / cfg.image.width, act_layer=cfg.image.act, num_classes=0,
    )  # fmt: skip
    load_big_vision_weights(model, str(file))
    return model.eval()


@pytest.mark.parametrize("seed", range(12))
def test_any_pair_as_open_clip_reads_it(seed, tmp_path):
    cfg, file = draw_pair(seed), tmp_path / "x.npz"
    towers = {"img/": published("map", cfg.image, seed % 2 == 0), "txt/": texts(cfg.text, seed % 3 == 0)}
    state = {own + name: array for own, tensors in towers.items() for name, array in tensors.items()}
    state |= {"t": np.full(1, 1.5, np.float32), "b": np.full(1, -3, np.float32)}
    np.savez(file, **{f"params/{name}": array for name, array in state.items()})
    theirs, ours = open_clips(cfg, file), vitjax.load(file, config=cfg)
    x = uniform("input", (2, cfg.image.image, cfg.image.image, 3)) / 8
    ids = np.random.default_rng(seed).integers(0, cfg.text.vocab, (3, cfg.text.context)).astype(np.int32)
    pictures, texts_ = torch.from_numpy(x.transpose(0, 3, 1, 2)), torch.from_numpy(ids).long()
    with torch.no_grad():
        assert_close(ours.encode_image(x), theirs.encode_image(pictures).numpy())
        assert_close(ours.encode_text(ids), theirs.encode_text(texts_).numpy())
        assert_close(ours(x, ids)[0], theirs.get_logits(pictures, texts_)[0].numpy())
    for name, alone in ("image", ours.encode_image(x)), ("text", ours.encode_text(ids)):
        np.testing.assert_array_equal(vitjax.load(file, config=cfg, tower=name)(x if name == "image" else ids), alone)

    back = open_clips(cfg, export(ours.spec, ours.params, tmp_path / "out.npz", "google")).state_dict()
    assert all(torch.equal(back[name], tensor) for name, tensor in theirs.state_dict().items())
