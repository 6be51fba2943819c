"""Our tables against timm itself: every architecture on the meta device, every published checkpoint's record."""

from fnmatch import fnmatchcase
from typing import Any

import birder  # noqa: F401  (registers its networks)
import pytest
import timm
import torch
from birder.model_registry import registry
from timm.data import ImageNetInfo, infer_imagenet_subset, resolve_data_config
from timm.layers import GluMlp, LayerNorm, LayerScale, Mlp, RotaryEmbeddingCat, SwiGLU
from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg
from timm.models.eva import Eva, EvaAttention, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Attention, Block, ResPostBlock
from torch import nn

from vitjax import variants
from vitjax.config import ViTConfig, hw
from vitjax.variants import VARIANTS, WEIGHTS, parameters, resolve, spec
from vitjax.vit_variants import REFUSED

TIMM = set(timm.list_models(module=["vision_transformer", "deit", "eva"]))
ARCHITECTURES = [name for name in VARIANTS if name in TIMM]
ACTS = {"GELU": "gelu", "GELUTanh": "gelu_tanh", "QuickGELU": "quick_gelu", "SiLU": "silu"}


def only(values):
    """The one value that all of them are."""
    (value,) = set(values)
    return value


def present(module: nn.Module) -> bool:
    return not isinstance(module, nn.Identity)


def read(model: nn.Module) -> ViTConfig:
    """The config of a timm VisionTransformer or Eva, from its modules."""
    block, eva = model.blocks[0], isinstance(model, Eva)
    classes = (EvaBlock, EvaBlockPostNorm) if eva else (Block, ResPostBlock)
    assert only(type(b) for b in model.blocks) in classes
    assert only(type(b.attn) for b in model.blocks) is (EvaAttention if eva else Attention) and block.attn.gate is None
    kind = only(type(b.mlp) for b in model.blocks)
    assert kind in (Mlp, GluMlp, SwiGLU) and not (kind is GluMlp and block.mlp.gate_last)
    assert present(model.norm) + present(model.fc_norm) < 2 and not present(model.patch_embed.norm)
    norms = [m for m in model.modules() if isinstance(m, nn.LayerNorm)]
    assert {type(m) for m in norms} == {LayerNorm}
    ups = (block.mlp.fc1_g, block.mlp.fc1_x) if kind is SwiGLU else (block.mlp.fc1,)
    return ViTConfig(
        image=model.patch_embed.img_size,
        patch=only(model.patch_embed.patch_size),
        width=model.embed_dim,
        depth=len(model.blocks),
        heads=only(m.num_heads for m in model.modules() if hasattr(m, "num_heads")),
        mlp=only(m.fc2.in_features for m in model.modules() if isinstance(m, Mlp | GluMlp | SwiGLU)),
        classes=model.num_classes,
        cls=model.cls_token is not None,
        registers=0 if model.reg_token is None else model.reg_token.shape[1],
        positions="none" if model.pos_embed is None else "patches" if model.no_embed_class else "all",
        patch_bias=model.patch_embed.proj.bias is not None,
        norm_pre=present(model.norm_pre),
        act=ACTS[only(type(m.act).__name__ for m in model.modules() if hasattr(m, "act"))],
        eps=only(m.eps for m in norms),
        bias=only(m.bias is not None for m in (block.attn.proj, *ups, block.mlp.fc2)),
        qk_norm=present(block.attn.q_norm),
        attn_norm=present(block.attn.norm),
        mlp_norm=present(block.mlp.norm),
        gated=kind is not Mlp,
        packed=kind is GluMlp,
        norm_post=isinstance(block, ResPostBlock | EvaBlockPostNorm),
        pool={"token": "token", "avg": "mean", "map": "map"}[model.global_pool],
        norm="before" if present(model.norm) else "after" if present(model.fc_norm) else "none",
        head_bias=not present(model.head) or model.head.bias is not None,
        **(read_eva(model) if eva else read_vit(model)),
    )


def read_vit(model: nn.Module) -> dict[str, Any]:
    """What only a VisionTransformer has, or spells so."""
    scales = [m.init_values for m in model.modules() if isinstance(m, LayerScale)]
    assert len(scales) in (0, 2 * len(model.blocks))
    return {
        "qkv_bias": only(b.attn.qkv.bias is not None for b in model.blocks),
        "layer_scale": only(scales) if scales else None,
        "pool_prefix": model.pool_include_prefix,
    }


def read_eva(model: nn.Module) -> dict[str, Any]:
    """The same of an Eva: what turns its queries and keys is checked, as no field of ours says it."""
    attn, rope = model.blocks[0].attn, model.rope
    assert model.attn_pool is None and not any("gamma" in name for name, _ in model.named_parameters())
    if rope is not None:
        assert (type(rope), rope.grid_type, rope.grid_indexing) == (RotaryEmbeddingCat, "index", "ij")
        assert (rope.temperature, rope.grid_offset, rope.rotate_half, attn.rotate_half) == (10000, 0, False, False)
        assert rope.dim == attn.head_dim and not model.rope_mixed
    fused = only(b.attn.qkv is not None for b in model.blocks)
    assert only((b.attn.qkv or b.attn.k_proj).bias is None for b in model.blocks)
    biases = (attn.q_bias, attn.v_bias) if fused else (attn.q_proj.bias, attn.v_proj.bias)
    return {
        "qkv_bias": "qv" if only(bias is not None for bias in biases) else False,
        "qkv_fused": fused,
        "rotary": rope is not None,
        "rotary_grid": rope and rope.ref_feat_shape,
    }


def refused(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in REFUSED)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architecture_is_what_timm_builds(name):
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False)
    assert read(model) == VARIANTS[name]
    assert parameters(VARIANTS[name]) == sum(p.numel() for p in model.parameters())


def test_no_architecture_is_forgotten_or_invented():
    assert {name for name in TIMM if not refused(name)} == set(ARCHITECTURES)
    assert [name for name in variants.TIMM if not timm.is_model(name)] == ["vit_pico_patch4_32"]


@pytest.mark.parametrize("pattern", REFUSED)
def test_refused_is_published(pattern):
    assert any(fnmatchcase(name, pattern) for name in TIMM | set(registry.all_nets))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tags_are_timms_in_timms_order(name):
    published = [known for known, cfg in get_arch_pretrained_cfgs(name).items() if cfg.has_weights]
    assert [known for known in WEIGHTS if known.partition(".")[0] == name] == published
    if published:
        assert resolve(name) == f"{name}.{get_pretrained_cfg(name).tag}"


@pytest.mark.parametrize("name", [name for name in WEIGHTS if name.partition(".")[0] in TIMM])
def test_checkpoint_is_what_timm_says(name):
    cfg, ours = get_pretrained_cfg(name), spec(name)
    data = resolve_data_config(pretrained_cfg=cfg.to_dict())
    size, fit = hw(ours.preprocess.size), {"crop": "center"}.get(ours.preprocess.fit, ours.preprocess.fit)
    assert data == {
        "input_size": (3, *size),
        "interpolation": ours.preprocess.resample,
        "mean": ours.preprocess.mean,
        "std": ours.preprocess.std,
        "crop_pct": ours.preprocess.crop,
        "crop_mode": fit,
    }
    assert size == hw(ours.config.image) and cfg.fixed_input_size
    assert ours.config.classes == cfg.num_classes
    subset = infer_imagenet_subset(cfg.to_dict())
    assert list(ours.labels) == (ImageNetInfo(subset).label_descriptions() if subset else [])
    assert ours.source.licence == (cfg.license or "")
    assert ours.source.origin == (f"hf:{cfg.hf_hub_id}" if cfg.hf_hub_id else cfg.url)
    assert cfg.hf_hub_filename is None and (ours.source.dialect, ours.source.reference) == ("timm", f"timm {timm.__version__}")
