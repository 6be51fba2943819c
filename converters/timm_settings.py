"""timm's config.json (architecture, model_args, pretrained_cfg) to a Spec, and back; timm/models/_hub.py is its definition.

What the file says wins over our row of the architecture, as in timm. What we do not understand is an error.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from vitjax import variants
from vitjax.config import Error, Preprocess, Spec, ViTConfig, hw, unknown

from .files import Bundle
from .json_file import blame

TOP = {"architecture", "num_classes", "num_features", "global_pool", "model_args", "pretrained_cfg"}
LABELS = {"label_names", "label_descriptions", "labels"}
PRETRAINED = LABELS | {"num_classes", "input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std", "tag", "license"}
SILENT = {  # says nothing about the network or its pictures
    "url", "file", "hf_hub_id", "hf_hub_filename", "source", "custom_load", "architecture", "fixed_input_size",
    "test_input_size", "min_input_size", "test_crop_pct", "pool_size", "test_pool_size", "first_conv", "classifier",
    "description", "origin_url", "paper_name", "paper_ids", "notes", "state_dict",
}  # fmt: skip
TRAINING = {  # arguments that change no number of a network that is not being trained
    "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "weight_init", "fix_init",
    "dynamic_img_size", "strict_img_size",
}  # fmt: skip

OURS = {"vit_pico_patch4_32"}  # a row that timm has not
POOLS = {"token": "token", "avg": "mean", "map": "map"}
FITS = {"center": "crop", "squash": "squash", "border": "border"}
ACTS = {"gelu": "gelu", "gelu_tanh": "gelu_tanh", "quick_gelu": "quick_gelu", "silu": "silu", "swish": "silu"}


def is_eva(cfg: ViTConfig) -> bool:
    """Whether timm's class for such a network is `Eva`; else it is `VisionTransformer`."""
    return cfg.rotary or cfg.qkv_bias == "qv"


def read(bundle: Bundle) -> Spec | None:
    """The Spec of a folder whose config.json is timm's; None where there is none, or it is another library's."""
    if bundle.config is None or "architecture" not in bundle.config:
        return None
    with blame(bundle.path.parent / "config.json"):
        return _spec(bundle, bundle.config)


def _spec(bundle: Bundle, data: dict[str, Any]) -> Spec:
    nested = "pretrained_cfg" in data  # older files are one flat object
    cfg = dict(data["pretrained_cfg"]) if nested else {k: v for k, v in data.items() if k not in TOP - {"num_classes"}}
    _known(data, TOP | LABELS if nested else TOP | PRETRAINED | SILENT)
    _known(cfg, PRETRAINED | SILENT)
    cfg |= {key: data[key] for key in (*LABELS, "num_classes") if key in data}
    arch = data["architecture"]
    name = arch + (f".{cfg['tag']}" if cfg.get("tag") else "")
    row = variants.spec(name if name in variants.WEIGHTS else arch)
    config = _config(row.vit, cfg, data.get("model_args") or {}, bundle)
    for key, ours in (("num_features", config.width), ("global_pool", _args(config)["global_pool"])):
        if data.get(key, ours) != ours:
            raise Error(f"{key} {data[key]!r} contradicts {arch} with these model_args, which has {ours!r}")
    labels = _labels(cfg) or (row.labels if config.classes == row.config.classes else ())
    if labels and len(labels) != config.classes:
        raise Error(f"{len(labels)} label_names for {config.classes} classes")
    licence = cfg.get("license") or row.source.licence
    return Spec(
        name, config, _preprocess(row.preprocess, cfg, config), labels, replace(row.source, dialect="timm", licence=licence)
    )


def _known(data: dict[str, Any], known: set[str]) -> None:
    for key in data:
        if key not in known:
            raise Error(f"{unknown('key', key, known)}; remove it if it means nothing for the network")


def _labels(cfg: dict[str, Any]) -> tuple[str, ...]:
    """A class's description if it has one, else its name."""
    names = cfg.get("label_names") or cfg.get("labels") or []
    if isinstance(names, dict):  # {"0": name}
        names = [names[key] for key in sorted(names, key=int)]
    descriptions = cfg.get("label_descriptions") or {}
    return tuple(str(descriptions.get(name, name)) for name in names)


def _preprocess(row: Preprocess, cfg: dict[str, Any], config: ViTConfig) -> Preprocess:
    mode, resample = cfg.get("crop_mode"), cfg.get("interpolation") or row.resample
    if mode is not None and mode not in FITS:
        raise unknown("crop_mode", mode, FITS)
    if resample not in ("bicubic", "bilinear"):
        raise Error(f"interpolation {resample!r} is not supported: only bicubic and bilinear")
    mean, std = (tuple(map(float, cfg.get(key) or default)) for key, default in (("mean", row.mean), ("std", row.std)))
    crop = float(cfg.get("crop_pct") or row.crop)
    return Preprocess(config.image, crop, FITS[mode] if mode else row.fit, resample, mean, std)  # type: ignore[arg-type]


def _args(cfg: ViTConfig) -> dict[str, Any]:
    """The arguments of timm's VisionTransformer that make the network of `cfg`."""
    hidden = cfg.mlp * (2 if cfg.gated and cfg.packed else 1)
    ratio = hidden / cfg.width
    if int(cfg.width * ratio) < hidden:  # timm truncates the product
        ratio = math.nextafter(ratio, math.inf)
    default = (cfg.pool == "mean") == (cfg.norm == "after") or cfg.norm == "none"  # timm's own placement: after a mean
    return {
        "img_size": list(hw(cfg.image)),
        "patch_size": cfg.patch,
        "in_chans": 3,
        "num_classes": cfg.classes,
        "global_pool": {ours: theirs for theirs, ours in POOLS.items()}[cfg.pool],
        "embed_dim": cfg.width,
        "depth": cfg.depth,
        "num_heads": cfg.heads,
        "mlp_ratio": ratio,
        "qkv_bias": cfg.qkv_bias,
        "qk_norm": cfg.qk_norm,
        "scale_attn_norm": cfg.attn_norm,
        "scale_mlp_norm": cfg.mlp_norm,
        "proj_bias": cfg.bias,
        "init_values": cfg.layer_scale,
        "class_token": cfg.cls,
        "pos_embed": "none" if cfg.positions == "none" else "learn",
        "no_embed_class": cfg.positions == "patches",
        "reg_tokens": cfg.registers,
        "pre_norm": cfg.norm_pre,
        "final_norm": cfg.norm != "none",
        "fc_norm": None if default else cfg.norm == "after",
        "pool_include_prefix": cfg.pool_prefix,
        "act_layer": cfg.act,
        "drop_path_rate": cfg.drop_path,
    }


def _config(row: ViTConfig, cfg: dict[str, Any], given: dict[str, Any], bundle: Bundle) -> ViTConfig:
    """The row's network with what `pretrained_cfg` and then `model_args` say of it."""
    args = _args(row)
    for key in given:
        if key not in args and key not in TRAINING | {"norm_layer", "dynamic_img_pad"}:
            raise unknown("model_args", key, args)
    if given.get("dynamic_img_pad") or given.get("norm_layer") not in (None, "layernorm"):
        raise Error("dynamic_img_pad, and norm_layer other than layernorm, are not supported")
    if cfg.get("input_size"):
        args["in_chans"], *args["img_size"] = cfg["input_size"]
    if (classes := cfg.get("num_classes")) is not None:
        args["num_classes"] = classes
    args |= {key: value for key, value in given.items() if value is not None or key in ("init_values", "fc_norm")}
    if args["in_chans"] != 3:
        raise Error(f"in_chans={args['in_chans']}: vitjax reads RGB; timm can adapt a checkpoint: create_model(..., in_chans=3)")
    if args["global_pool"] not in POOLS:
        raise Error(f"global_pool {args['global_pool']!r} is not supported: only {', '.join(POOLS)}")
    if args["act_layer"] not in ACTS:
        raise unknown("act_layer", args["act_layer"], ACTS)
    pool, fc_norm = POOLS[args["global_pool"]], args["fc_norm"]
    after = pool == "mean" if fc_norm is None else bool(fc_norm)
    learned = "patches" if args["no_embed_class"] else "all"
    return replace(
        row,
        image=_square(args["img_size"]),
        patch=_side(args["patch_size"]),
        width=args["embed_dim"],
        depth=args["depth"],
        heads=args["num_heads"],
        mlp=_mlp(row, args, given, bundle),
        classes=args["num_classes"],
        cls=args["class_token"],
        registers=args["reg_tokens"],
        positions=learned if args["pos_embed"] == "learn" else "none",
        patch_bias=not args["pre_norm"],
        norm_pre=args["pre_norm"],
        act=ACTS[args["act_layer"]],
        eps=1e-6 if given.get("norm_layer") else row.eps,
        qkv_bias=args["qkv_bias"],
        bias=args["proj_bias"],
        qk_norm=args["qk_norm"],
        attn_norm=args["scale_attn_norm"],
        mlp_norm=args["scale_mlp_norm"],
        layer_scale=args["init_values"] or None,
        drop_path=args["drop_path_rate"],
        pool=pool,
        pool_prefix=args["pool_include_prefix"],
        norm="none" if not args["final_norm"] else "after" if after else "before",
    )  # fmt: skip


def _mlp(row: ViTConfig, args: dict[str, Any], given: dict[str, Any], bundle: Bundle) -> int:
    """The MLP's width. timm truncates embed_dim * mlp_ratio, and a row keeps the product only: the tensor says it exactly."""
    if not {"embed_dim", "mlp_ratio"} & set(given):
        return row.mlp
    packed = 2 if row.gated and row.packed else 1
    for name in ("blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc1_g.weight"):
        if name in bundle.tensors and bundle.tensors[name].shape:
            return bundle.tensors[name].shape[0] // packed
    return int(args["embed_dim"] * args["mlp_ratio"]) // packed


def _square(size: Any) -> Any:
    return tuple(size) if isinstance(size, list | tuple) else size


def _side(size: Any) -> Any:
    if isinstance(size, list | tuple) and len(set(size)) == 1:
        return size[0]
    return size


def write(spec: Spec) -> dict[str, Any]:
    """The config.json with which timm builds this network and its preprocessing."""
    arch, how, config = _architecture(spec), spec.preprocess, spec.vit
    row = variants.TIMM[arch]
    args, usual = _args(config), _args(row)
    said = {"img_size", "num_classes", "in_chans", "drop_path_rate"} | ({"mlp_ratio"} if _sizes(config) == _sizes(row) else set())
    tag = spec.name.partition(".")[2]
    pretrained = {
        "tag": tag,
        "custom_load": False,
        "input_size": [3, *hw(config.image)],
        "fixed_input_size": True,
        "interpolation": how.resample,
        "crop_pct": how.crop,
        "crop_mode": {ours: theirs for theirs, ours in FITS.items()}[how.fit],
        "mean": list(how.mean),
        "std": list(how.std),
        "num_classes": config.classes,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        "license": spec.source.licence,
    }
    top = {
        "architecture": arch,
        "num_classes": config.classes,
        "num_features": config.width,
        "global_pool": args["global_pool"],
        "model_args": {key: value for key, value in args.items() if key not in said and value != usual[key]},
        "pretrained_cfg": pretrained,
    }
    return top | ({"label_names": list(spec.labels)} if spec.labels else {})


def _architecture(spec: Spec) -> str:
    """The checkpoint's own architecture, or else one that differs from it only in what arguments can say."""
    own = spec.name.partition(".")[0]
    for arch in (own, *variants.TIMM):
        if (row := variants.TIMM.get(arch)) and arch not in OURS and _class(row) == _class(spec.vit):
            return arch
    raise Error(
        f"timm has no architecture like {spec.name}: {_class(spec.vit)}; export the tensors alone, to a .safetensors file"
    )


def _class(cfg: ViTConfig) -> dict[str, Any]:
    """What of a network timm gives as a class, which no file can say."""
    return {key: getattr(cfg, key) for key in ("gated", "packed", "norm_post", "eps")}


def _sizes(cfg: ViTConfig) -> tuple[int, int]:
    return cfg.width, cfg.mlp
