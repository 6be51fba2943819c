"""open_clip's open_clip_config.json to a Spec, and back. What of it is no network of ours is refused by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitjax import variants
from vitjax.config import CLIPConfig, Error, Preprocess, Source, Spec, TextConfig, Tokenize, ViTConfig, unknown

from .files import OPEN_CLIP_CONFIG, Bundle
from .json_file import blame
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
}  # fmt: skip
TIMM = {"timm_model_name": None, "timm_pool": "avg", "timm_proj": "linear", "timm_proj_bias": False}
TEXT = TOWER | {
    "context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "pad_id": 0, "eos_id": 2, "no_causal_mask": False,
    "pool_type": "argmax", "proj_bias": False, "proj_type": "linear", "hf_tokenizer_name": None, "tokenizer_kwargs": None,
}  # fmt: skip
# ... what must have its default, because we have not what else it can be ...
ONLY = {
    "attentional_pool": False, "pos_embed_type": "learnable", "qk_norm": False, "scaled_cosine_attn": False,
    "scale_heads": False, "scale_attn_inner": False, "scale_attn": False, "scale_fc": False, "block_type": None,
    "embed_cls": False, "tokenizer_mode": None, "hf_model_name": None,
}  # fmt: skip
# ... and what says nothing of a trained network's numbers.
SILENT = {
    "patch_dropout", "attn_pooler_queries", "attn_pooler_heads", "output_tokens", "timm_model_pretrained", "timm_drop",
    "timm_drop_path", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type",
}  # fmt: skip
FITS = {"shortest": "crop", "squash": "squash", "longest": "border"}
POOLS = {"tok": "token", "avg": "mean"}
PICTURES = {"size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color"}
BERT = Tokenize("whitespace", 101, 0, 0)  # strip_sep_token puts 0 in the place of the end
XLM = Tokenize("whitespace", 0, 2, 1)
SIGLIP = Tokenize("repaired", None, 1, 1)
GEMMA = Tokenize("repaired", None, 1, 0)
TOKENIZERS = {"bert-base-uncased": BERT, "facebook/xlm-v-base": XLM, "google/mt5-base": GEMMA}  # by hf_tokenizer_name


def is_native(cfg: ViTConfig) -> bool:
    """Whether open_clip's own VisionTransformer is such a network, by what it always has; else it is one of timm's."""
    same = dict(cls=True, patch_bias=False, registers=0, positions="all", qkv_bias=True, bias=True, qk_norm=False)
    same |= dict(attn_norm=False, mlp_norm=False, gated=False, norm_post=False, pool_prefix=False, representation=0)
    same |= dict(distilled=False, head_bias=cfg.head_bias and not cfg.classes)
    return all(getattr(cfg, key) == value for key, value in same.items()) and cfg.pool in POOLS.values() and cfg.norm != "none"


def is_custom(cfg: CLIPConfig) -> bool:
    """Whether its class is CustomTextCLIP, which has the text tower's tensors under `text.`."""
    return cfg.sigmoid or cfg.text.head_bias or not is_native(cfg.image)


def check_text(cfg: TextConfig) -> None:
    """Raise Error for a text tower that open_clip's TextTransformer cannot be."""
    same = dict(qkv_bias=True, bias=True, qk_norm=False, attn_norm=False, mlp_norm=False, gated=False, norm_post=False)
    said = [f"{key}={getattr(cfg, key)!r}" for key, value in same.items() if getattr(cfg, key) != value]
    said += [f"pool={cfg.pool!r}"] if cfg.pool == "map" else []
    if said:
        raise Error(f"open_clip's text tower cannot be such a network: {', '.join(said)}; export it in its own dialect")


def read(bundle: Bundle) -> Spec | None:
    """The Spec that open_clip_config.json beside a file gives; None where there is none."""
    if bundle.open_clip is None:
        return None
    with blame(bundle.path.parent / OPEN_CLIP_CONFIG):
        data = bundle.open_clip
        _known(data, {"model_cfg", "preprocess_cfg"})
        model = data["model_cfg"]
        config = _config(model)
        how = _pictures(data.get("preprocess_cfg", {}), config)
        name = bundle.path.resolve().parent.name
        return Spec(name, config, how, (), Source("open_clip", reference=REFERENCE), _tokenize(model.get("text_cfg", {}), config))


def _known(data: Mapping[str, Any], known: set[str]) -> None:
    for key in data:
        if key not in known:
            raise unknown("key", key, known)


def _fields(data: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a tower's settings say, with open_clip's defaults; what we have not is refused by name."""
    _known(data, {*defaults, *ONLY, *SILENT})
    for key, only in ONLY.items():
        if data.get(key, only) not in (only, "default" if key == "block_type" else only):
            raise Error(f"{key} {data[key]!r} is not supported: only {only!r}")
    return dict(defaults) | {key: value for key, value in data.items() if key in defaults}


def _config(model: Mapping[str, Any]) -> CLIPConfig:
    _known(model, MODEL | {"multimodal_cfg"})
    if "multimodal_cfg" in model:
        raise Error("multimodal_cfg is not supported: CoCa writes texts")
    quick, width = model.get("quick_gelu", False), model["embed_dim"]
    return CLIPConfig(
        _vision(_fields(model["vision_cfg"], VISION | TIMM), width, quick),
        _text(_fields(model["text_cfg"], TEXT), width, quick),
        sigmoid=model.get("init_logit_bias") is not None,
    )


def _shared(cfg: Mapping[str, Any], quick: bool) -> dict[str, Any]:
    """What both towers say alike: activation, eps, scales of branches."""
    norm, act = dict(cfg["norm_kwargs"] or {}), dict(cfg["act_kwargs"] or {})
    eps, tanh = norm.pop("eps", 1e-5), act.pop("approximate", "none") == "tanh"
    if norm or act:
        raise Error(f"norm_kwargs and act_kwargs {norm | act} are not supported: only eps and approximate")
    return {"act": "quick_gelu" if quick else "gelu_tanh" if tanh else "gelu", "eps": eps, "layer_scale": cfg["ls_init_value"]}


def _vision(cfg: Mapping[str, Any], width: int, quick: bool) -> ViTConfig:
    if cfg["timm_model_name"]:
        return _timm(cfg, width)
    if not isinstance(cfg["layers"], int):
        raise Error(f"layers {cfg['layers']} are those of a ResNet, which is not supported: only Vision Transformers")
    if cfg["pool_type"] not in POOLS:
        raise unknown("pool_type", cfg["pool_type"], POOLS)
    size, c = cfg["image_size"], cfg["width"]
    image = size if isinstance(size, int) else tuple(size)
    sizes = (image, cfg["patch_size"], c, cfg["layers"], c // cfg["head_width"], int(c * cfg["mlp_ratio"]), width)
    after = "after" if cfg["final_ln_after_pool"] else "before"
    own = dict(patch_bias=False, head_bias=False, norm_pre=not cfg["no_ln_pre"], pool=POOLS[cfg["pool_type"]], norm=after)
    return ViTConfig(*sizes, **own, **_shared(cfg, quick))  # type: ignore[arg-type]


def _timm(cfg: Mapping[str, Any], width: int) -> ViTConfig:
    """A tower of timm's, by its name there; its projection, if any, is timm's head or a layer of open_clip's."""
    row = variants.TIMM.get(cfg["timm_model_name"])
    if row is None:
        raise unknown("timm_model_name", cfg["timm_model_name"], variants.TIMM)
    pools = {"map": "map", "token": "token", "avg": "mean", "": row.pool}
    if pools.get(cfg["timm_pool"]) != row.pool:
        raise Error(f"timm_pool {cfg['timm_pool']!r} is not supported for {cfg['timm_model_name']}, which pools by {row.pool}")
    projection, size = cfg["timm_proj"] or "", cfg["image_size"]
    if projection not in ("", "none", "linear"):
        raise Error(f"timm_proj {projection!r} is not supported: only linear, none, or timm's own head")
    image = size if isinstance(size, int) else tuple(size)
    classes = 0 if projection == "none" else width
    return replace(row, image=image, classes=classes, head_bias=bool(cfg["timm_proj_bias"]) if projection == "linear" else True)


def _text(cfg: Mapping[str, Any], width: int, quick: bool) -> TextConfig:
    if cfg["pool_type"] not in ("argmax", "eos", "last") or cfg["proj_type"] not in ("linear", "none"):
        raise Error(f"pool_type {cfg['pool_type']!r} with proj_type {cfg['proj_type']!r} is not supported")
    c, classes = cfg["width"], width if cfg["proj_type"] == "linear" else 0
    sizes = (cfg["context_length"], cfg["vocab_size"], c, cfg["layers"], cfg["heads"], int(c * cfg["mlp_ratio"]), classes)
    own = dict(causal=not cfg["no_causal_mask"], pool=cfg["pool_type"], head_bias=bool(cfg["proj_bias"]))
    return TextConfig(*sizes, eos=cfg["eos_id"] if cfg["pool_type"] == "eos" else None, **own, **_shared(cfg, quick))


def _pictures(cfg: Mapping[str, Any], config: CLIPConfig) -> Preprocess:
    _known(cfg, PICTURES)
    mean, std = tuple(cfg.get("mean", MEAN)), tuple(cfg.get("std", STD))
    fit, size = cfg.get("resize_mode", "shortest"), cfg.get("size", config.image.image)
    if fit not in FITS:
        raise unknown("resize_mode", fit, FITS)
    image = size if isinstance(size, int) else tuple(size)
    return Preprocess(image, 1.0, FITS[fit], cfg.get("interpolation", "bicubic"), mean, std)  # type: ignore[arg-type]


MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def _tokenize(cfg: Mapping[str, Any], config: CLIPConfig) -> Tokenize:
    """How open_clip makes ids for the tower: its own tokenizer, or one of transformers' by name."""
    name, clean = cfg.get("hf_tokenizer_name"), (cfg.get("tokenizer_kwargs") or {}).get("clean")
    if not name:
        return Tokenize()
    if name in TOKENIZERS:
        return TOKENIZERS[name]
    if clean == "canonicalize":
        return GEMMA if config.text.vocab == 256000 else SIGLIP
    raise unknown("hf_tokenizer_name", name, TOKENIZERS)


def write(spec: Spec) -> dict[str, Any]:
    """The open_clip_config.json with which open_clip builds this network and its pictures."""
    config, how = spec.config, spec.preprocess
    if not isinstance(config, CLIPConfig):
        raise Error(f"open_clip has whole CLIPs, and {spec.name} is a tower: export its tensors alone, to a .safetensors file")
    if how.crop != 1.0:
        raise Error(f"open_clip keeps all of a resized picture, and its files cannot say crop {how.crop}")
    model: dict[str, Any] = {"embed_dim": config.classes, "quick_gelu": config.text.act == "quick_gelu"}
    model |= {"custom_text": True} if is_custom(config) else {}
    model |= {"init_logit_bias": -10} if config.sigmoid else {}
    vision = _written_vision(config.image) if is_native(config.image) else _written_timm(config.image)
    model |= {"vision_cfg": vision, "text_cfg": _written_text(config.text, spec.tokenize or Tokenize())}
    if is_native(config.image) and config.image.act != config.text.act:
        raise Error(f"open_clip has one activation for both towers, not {config.image.act} and {config.text.act}")
    fits = {ours: theirs for theirs, ours in FITS.items()}
    pictures = {"mean": list(how.mean), "std": list(how.std), "interpolation": how.resample, "resize_mode": fits[how.fit]}
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
    image = cfg.image if isinstance(cfg.image, int) else list(cfg.image)
    out = {"image_size": image, "patch_size": cfg.patch, "head_width": cfg.head_width, "no_ln_pre": not cfg.norm_pre}
    pools = {ours: theirs for theirs, ours in POOLS.items()}
    return _written(cfg) | out | {"pool_type": pools[cfg.pool], "final_ln_after_pool": cfg.norm == "after"}


def _written_timm(cfg: ViTConfig) -> dict[str, Any]:
    """The name of timm's that is the same network, but for its picture size and its projection."""
    plain = dict(image=1000, classes=0, head_bias=True, patch=cfg.patch, drop_path=0.0)
    same = replace(cfg, **plain)
    name = next((n for n, row in variants.TIMM.items() if n not in OURS and replace(row, **plain) == same), None)
    if name is None:
        raise Error(
            "open_clip has its image towers from timm, which has no such network; export the tensors alone (.safetensors)"
        )
    pool = {"map": "map", "token": "token", "mean": "avg"}[cfg.pool]
    projection = "none" if not cfg.classes else None if cfg.head_bias else "linear"
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
    names = {tokenize: name for name, tokenize in TOKENIZERS.items()}
    if how in names:
        out |= {"hf_tokenizer_name": names[how]}
    elif how.clean == "repaired":
        out |= {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP" + "2" * (how == GEMMA), "tokenizer_kwargs": {"clean": "canonicalize"}}
    return out
