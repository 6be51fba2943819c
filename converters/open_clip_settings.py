"""open_clip's open_clip_config.json to a Spec, and back. What of it is no network of ours is refused by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitjax import variants
from vitjax.config import CLIPConfig, Error, Size, Source, Spec, TextConfig, Tokenize, ViTConfig, unknown

from . import open_clip_inputs as inputs
from .files import OPEN_CLIP_CONFIG, Bundle
from .json_file import blame
from .open_clip_inputs import known
from .timm_settings import OURS

REFERENCE = "open_clip 3.3.0"
MODEL = {
    "embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale", "init_logit_bias",
    "nonscalar_logit_scale", "cast_dtype", "output_dict",
}  # fmt: skip
# CLIPVisionCfg and CLIPTextCfg of open_clip/model.py: what says the network, with its default there ...
TOWER = {"layers": 12, "mlp_ratio": 4.0, "ls_init_value": None, "norm_kwargs": None, "act_kwargs": None}
VISION = TOWER | {
    "width": 768, "head_width": 64, "patch_size": 16, "image_size": 224, "no_ln_pre": False, "final_ln_after_pool": False,
    "pool_type": "tok",
    "timm_model_name": None, "timm_pool": "avg", "timm_proj": "linear", "timm_proj_bias": False,
}  # fmt: skip
TEXT = TOWER | {
    "context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "eos_id": 2, "no_causal_mask": False,
    "pool_type": "argmax", "proj_bias": False, "proj_type": "linear", "hf_tokenizer_name": None, "tokenizer_kwargs": None,
}  # fmt: skip
# ... what must have its default, because we have not what else it can be ...
ONLY = {
    "attentional_pool": False, "pos_embed_type": "learnable", "qk_norm": False, "scaled_cosine_attn": False,
    "scale_heads": False, "scale_attn_inner": False, "scale_attn": False, "scale_fc": False, "block_type": None,
    "embed_cls": False, "tokenizer_mode": None, "hf_model_name": None,
}  # fmt: skip
# ... and what says nothing of a trained network's numbers; open_clip gives its text tower neither of the last two.
SILENT = {
    "patch_dropout", "attn_pooler_queries", "attn_pooler_heads", "output_tokens", "timm_model_pretrained", "timm_drop",
    "timm_drop_path", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type", "pad_id", "final_ln_after_pool",
}  # fmt: skip
POOLS: dict[str, Any] = {"tok": "token", "avg": "mean"}
TIMM_POOLS: dict[str, Any] = {"token": "token", "avg": "mean", "map": "map"}

# What every network of open_clip's has: Blocks, and image towers of its own.
BLOCKS: dict[str, Any] = dict(
    qkv_bias=True, bias=True, qk_norm=False, attn_norm=False, mlp_norm=False, gated=False, norm_post=False
)
NATIVE = BLOCKS | dict(
    cls=True, registers=0, positions="all", patch_bias=False, pool_prefix=False, representation=0, distilled=False,
    rotary=False, rotary_grid=None,
)  # fmt: skip


def is_native(cfg: ViTConfig) -> bool:
    """Whether open_clip's own VisionTransformer is such a network, by what it always has; else it is one of timm's."""
    if cfg.pool not in POOLS.values() or cfg.norm == "none" or (cfg.classes and cfg.head_bias):
        return False
    return replace(cfg, **NATIVE) == cfg


def is_custom(cfg: CLIPConfig) -> bool:
    """Whether its class is CustomTextCLIP, which has the text tower's tensors under `text.`."""
    return cfg.sigmoid or cfg.text.head_bias or not is_native(cfg.image)


def check_text(cfg: TextConfig) -> None:
    """Raise Error for a text tower that open_clip's TextTransformer cannot be."""
    said = [f"{key}={getattr(cfg, key)!r}" for key, value in BLOCKS.items() if getattr(cfg, key) != value]
    said += [f"pool={cfg.pool!r}"] if cfg.pool == "map" else []
    if said:
        raise Error(f"open_clip's text tower cannot be such a network: {', '.join(said)}; export it in its own dialect")


# From their settings to ours


def read(bundle: Bundle) -> Spec | None:
    """The Spec that open_clip_config.json beside a file gives; None where there is none."""
    if bundle.open_clip is None:
        return None
    with blame(bundle.path.parent / OPEN_CLIP_CONFIG):
        data = bundle.open_clip
        known(data, {"model_cfg", "preprocess_cfg"})
        model = data["model_cfg"]
        config = _config(model)
        how = inputs.pictures(data.get("preprocess_cfg") or {}, config.image.image)
        name = bundle.path.resolve().parent.name
        return Spec(name, config, how, (), Source("open_clip", reference=REFERENCE), inputs.tokenize(model["text_cfg"]))


def _fields(data: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a tower's settings say, with open_clip's defaults; what we have not is refused by name."""
    known(data, {*defaults, *ONLY, *SILENT})
    for key, only in ONLY.items():
        if data.get(key, only) != only and (key, data[key]) != ("block_type", "default"):
            raise Error(f"{key} {data[key]!r} is not supported: only {only!r}")
    return dict(defaults) | {key: value for key, value in data.items() if key in defaults}


def _config(model: Mapping[str, Any]) -> CLIPConfig:
    if "multimodal_cfg" in model:
        raise Error("multimodal_cfg is not supported: CoCa writes texts; give a network without it")
    known(model, MODEL)
    quick, width = bool(model.get("quick_gelu", False)), model["embed_dim"]
    image, text = _fields(model["vision_cfg"], VISION), _fields(model["text_cfg"], TEXT)
    tower = _timm(image, width) if image["timm_model_name"] else _vision(image, width, quick)
    return CLIPConfig(tower, _text(text, width, quick), sigmoid=model.get("init_logit_bias") is not None)


def _shared(cfg: Mapping[str, Any], quick: bool) -> dict[str, Any]:
    """What both towers say alike: activation, eps, scales of branches."""
    norm, act = dict(cfg["norm_kwargs"] or {}), dict(cfg["act_kwargs"] or {})
    eps, approximate = norm.pop("eps", 1e-5), act.pop("approximate", "none")
    if norm or act or approximate not in ("none", "tanh") or (quick and cfg["act_kwargs"]):
        raise Error(f"norm_kwargs {cfg['norm_kwargs']} and act_kwargs {cfg['act_kwargs']} are not supported: only eps and tanh")
    plain = "gelu_tanh" if approximate == "tanh" else "gelu"
    return {"act": "quick_gelu" if quick else plain, "eps": eps, "layer_scale": cfg["ls_init_value"]}


def _size(size: int | list[int]) -> Size:
    return size if isinstance(size, int) else tuple(size)  # type: ignore[return-value]


def _vision(cfg: Mapping[str, Any], width: int, quick: bool) -> ViTConfig:
    if not isinstance(cfg["layers"], int):
        raise Error(f"layers {cfg['layers']} are those of a ResNet, which is not supported: only Vision Transformers")
    if cfg["pool_type"] not in POOLS:
        raise unknown("pool_type", cfg["pool_type"], POOLS)
    c, after = cfg["width"], "after" if cfg["final_ln_after_pool"] else "before"
    sizes = (_size(cfg["image_size"]), cfg["patch_size"], c, cfg["layers"], c // cfg["head_width"], int(c * cfg["mlp_ratio"]))
    own: dict[str, Any] = dict(patch_bias=False, head_bias=False, norm_pre=not cfg["no_ln_pre"], norm=after)
    return ViTConfig(*sizes, width, pool=POOLS[cfg["pool_type"]], **own, **_shared(cfg, quick))


def _timm(cfg: Mapping[str, Any], width: int) -> ViTConfig:
    """A tower of timm's, by its name there; its projection, if any, is timm's head or a layer of open_clip's."""
    name, pool, projection = cfg["timm_model_name"], cfg["timm_pool"], cfg["timm_proj"] or "head"
    if (row := variants.TIMM.get(name)) is None:
        variants.architecture(name)  # says why, if it knows
        raise unknown("timm_model_name", name, variants.TIMM)
    if _size(cfg["image_size"]) != row.image:  # open_clip builds it without asking for a size
        raise Error(f"image_size {cfg['image_size']} is not that of {name}, {row.image}: correct one of them")
    if projection not in ("none", "linear", "head"):
        raise Error(f"timm_proj {projection!r} is not supported: only linear, none, or timm's own head")
    late = projection == "linear"
    usual = pool is None or (late and not pool)  # else, an empty one leaves the tokens as they are
    if (tower := _pooled(row, row.pool if usual else TIMM_POOLS.get(pool or ""), late)) is None:
        raise Error(f"timm_pool {pool!r} is not supported for {name}, only {row.pool!r}")
    bias = projection == "head" or bool(cfg["timm_proj_bias"])
    tower = replace(tower, classes=0 if projection == "none" else width, head_bias=bias or projection == "none")
    if is_native(tower):
        raise Error(
            f"timm_proj without a bias is not supported for {name}: that is open_clip's own tower under other "
            "names; leave out timm_model_name"
        )
    return tower


def _pooled(row: ViTConfig, pool: str | None, late: bool) -> ViTConfig | None:
    """timm's network with this global_pool; None where it cannot be.

    timm norms after a mean and before other pooling, unless an architecture says so itself. With a layer of open_clip's after
    it, it is told `late` (timm_model.py, reset_classifier), and its norm is already where it stays.
    """
    if pool == row.pool:
        return row
    if pool not in ("token", "mean") or (pool == "token" and not row.cls) or row.distilled:
        return None
    said = (row.pool == "mean") != (row.norm == "after")
    norm = row.norm if late or said or row.norm == "none" else "after" if pool == "mean" else "before"
    return replace(row, pool=pool, norm=norm)


def _text(cfg: Mapping[str, Any], width: int, quick: bool) -> TextConfig:
    if cfg["pool_type"] not in ("argmax", "eos", "last") or cfg["proj_type"] not in ("linear", "none"):
        raise Error(
            f"pool_type {cfg['pool_type']!r} with proj_type {cfg['proj_type']!r} is not supported: only linear or "
            "none, of one token"
        )
    c, classes = cfg["width"], width if cfg["proj_type"] == "linear" else 0
    sizes = (cfg["context_length"], cfg["vocab_size"], c, cfg["layers"], cfg["heads"], int(c * cfg["mlp_ratio"]), classes)
    own: dict[str, Any] = dict(causal=not cfg["no_causal_mask"], pool=cfg["pool_type"])
    own |= dict(head_bias=bool(cfg["proj_bias"] and classes), eos=cfg["eos_id"] if cfg["pool_type"] == "eos" else None)
    return TextConfig(*sizes, **own, **_shared(cfg, quick))


# And back


def write(spec: Spec) -> dict[str, Any]:
    """The open_clip_config.json with which open_clip builds this network and its pictures."""
    config = spec.config
    if not isinstance(config, CLIPConfig):
        raise Error(f"open_clip has whole CLIPs, and {spec.name} is a tower: export its tensors alone, to a .safetensors file")
    native, quick = is_native(config.image), config.text.act == "quick_gelu"
    acts = {config.text.act} | ({config.image.act} if native else set())
    if "silu" in acts or ("quick_gelu" in acts and len(acts) > 1):
        raise Error(f"open_clip's towers are not run with {config.image.act} and {config.text.act}: quick_gelu is for both")
    model: dict[str, Any] = {"embed_dim": config.classes, "quick_gelu": quick}
    model |= {"custom_text": True} if is_custom(config) else {}
    model |= {"init_logit_bias": -10} if config.sigmoid else {}
    vision = _written_vision(config.image) if native else _written_timm(config.image)
    model |= {"vision_cfg": vision, "text_cfg": _written_text(config.text, spec.tokenize or Tokenize())}
    pictures = inputs.written_pictures(spec.preprocess, config.image.image)
    return {OPEN_CLIP_CONFIG: {"model_cfg": model, "preprocess_cfg": pictures}}


def _written(cfg: ViTConfig | TextConfig) -> dict[str, Any]:
    out: dict[str, Any] = {"layers": cfg.depth, "width": cfg.width, "mlp_ratio": _ratio(cfg.width, cfg.mlp)}
    out |= {"ls_init_value": cfg.layer_scale} if cfg.layer_scale is not None else {}
    out |= {"norm_kwargs": {"eps": cfg.eps}} if cfg.eps != 1e-5 else {}
    return out | ({"act_kwargs": {"approximate": "tanh"}} if cfg.act == "gelu_tanh" else {})


def _ratio(width: int, mlp: int) -> float:
    """A ratio of which open_clip, cutting off what follows the point, makes this width again."""
    return next(ratio for ratio in (mlp / width, math.nextafter(mlp / width, math.inf)) if int(width * ratio) == mlp)


def _written_vision(cfg: ViTConfig) -> dict[str, Any]:
    if not cfg.classes:
        raise Error("open_clip's image towers all have a projection; export the tensors alone (.safetensors)")
    image = cfg.image if isinstance(cfg.image, int) else list(cfg.image)
    out = {"image_size": image, "patch_size": cfg.patch, "head_width": cfg.head_width, "no_ln_pre": not cfg.norm_pre}
    pools = {ours: theirs for theirs, ours in POOLS.items()}
    return _written(cfg) | out | {"pool_type": pools[cfg.pool], "final_ln_after_pool": cfg.norm == "after"}


def _written_timm(cfg: ViTConfig) -> dict[str, Any]:
    """The name of timm's that is the same network, but for its projection and what trains or resizes it."""
    plain: dict[str, Any] = dict(classes=0, head_bias=True, drop_path=0.0, interpolation="cubic")
    late = bool(cfg.classes) and not cfg.head_bias
    rows = {name: row for name, row in variants.TIMM.items() if name not in OURS and row.image == cfg.image}
    named = ((name, _pooled(rows[name], cfg.pool, late)) for name in sorted(rows, key=lambda name: rows[name].pool != cfg.pool))
    name = next((name for name, row in named if row and replace(row, **plain) == replace(cfg, **plain)), None)
    if name is None:
        raise Error(
            "open_clip has its image towers from timm, which has no such network; export the tensors alone (.safetensors)"
        )
    pool = {ours: theirs for theirs, ours in TIMM_POOLS.items()}[cfg.pool]
    projection = "linear" if late else None if cfg.classes else "none"
    image = cfg.image if isinstance(cfg.image, int) else list(cfg.image)
    return {
        "timm_model_name": name,
        "timm_model_pretrained": False,
        "timm_pool": pool,
        "timm_proj": projection,
        "image_size": image,
    }


def _written_text(cfg: TextConfig, how: Tokenize) -> dict[str, Any]:
    out = _written(cfg) | {"context_length": cfg.context, "vocab_size": cfg.vocab, "heads": cfg.heads}
    out |= {"no_causal_mask": not cfg.causal, "pool_type": cfg.pool, "proj_bias": cfg.head_bias}
    out |= {} if cfg.classes else {"proj_type": "none"}
    out |= {} if cfg.eos is None else {"eos_id": cfg.eos}
    return out | inputs.written_tokenizer(how, cfg)
