"""What birder keeps beside its tensors, to a Spec and back: birder/common/fs_ops.py and `ViT.__init__` define it.

A .pt holds it as plain values, .safetensors as JSON in the header, a config.json as birder.common.lib.get_network_config
makes it. Neither of the files says the name of the network: that is in the file's own name, as published, or with the user.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitjax import variants
from vitjax.config import Error, Source, Spec, ViTConfig, hw, unknown

from . import json_file
from .files import Bundle
from .stored import Flat

VERSION = "0.8.4"
REFERENCE = f"birder {VERSION}"
TASK = "image_classification"
BESIDE = ("task", "signature", "class_to_idx", "rgb_stats", "config")
SIZES = {"patch_size": "patch", "num_layers": "depth", "num_heads": "heads", "hidden_dim": "width", "mlp_dim": "mlp"}
MLPS = {"FFN": (False, False, "gelu"), "SwiGLU_FFN": (True, False, "silu"), "Norm_SwiGLU_FFN": (True, True, "silu")}
ACTS = {name: name for name in ("gelu", "gelu_tanh", "quick_gelu", "silu")}
ONLY = {  # what a network here has of what birder's may have
    "stem_type": "patchify",
    "stem_norm_layer_type": None,
    "norm_layer_type": "LayerNorm",
    "attn_pool_type": "MultiHeadAttentionPool",
    "pos_embed_interpolation_mode": "bicubic",
    "soft_moe_num_experts": None,
    "mlp_head": False,
}
SILENT = {  # arguments that change no number of a network that is not being trained, nor resized on the way
    "dropout", "attention_dropout", "projection_dropout", "drop_path_uniform", "out_indices", "pos_embed_antialias",
    "soft_moe_num_slots",
}  # fmt: skip


def arguments(cfg: ViTConfig) -> dict[str, Any]:
    """All that birder's config says of a network."""
    mlp = next(name for name, (gated, mlp_norm, _) in MLPS.items() if (gated, mlp_norm) == (cfg.gated, cfg.mlp_norm))
    pooled = cfg.pool == "map"
    return {
        **{theirs: getattr(cfg, ours) for theirs, ours in SIZES.items()},
        **ONLY,
        "drop_path_rate": cfg.drop_path,
        "abs_pos_embed": cfg.positions != "none",
        "pos_embed_special_tokens": cfg.positions != "patches",
        "layer_scale_init_value": cfg.layer_scale,
        "pre_norm": cfg.norm_pre,
        "post_norm": cfg.norm != "none",
        "norm_after_pool": cfg.norm == "after",
        "qkv_bias": bool(cfg.qkv_bias),
        "qk_norm": cfg.qk_norm,
        "attn_norm": cfg.attn_norm,
        "num_reg_tokens": cfg.registers,
        "class_token": cfg.cls,
        "attn_pool_head": pooled,
        "attn_pool_num_heads": None,
        "attn_pool_special_tokens": pooled and cfg.pool_prefix,
        "attn_pool_norm_eps": (cfg.pool_eps or cfg.eps) if pooled else 1e-5,
        "attn_pool_act_layer_type": (cfg.pool_act or cfg.act) if pooled else "gelu",
        "norm_layer_eps": cfg.eps,
        "mlp_layer_type": mlp,
        "act_layer_type": None if cfg.act == MLPS[mlp][2] else cfg.act,
        "head_bias": cfg.head_bias,
    }


USUAL = arguments(ViTConfig(224, 16, 768, 12, 12, 3072))  # what birder takes where a config is silent, but for SIZES


def config_of(given: Mapping[str, Any], image: Any = 224, classes: int = 1000, base: ViTConfig | None = None) -> ViTConfig:
    """The network of birder's config; what that does not say is as in `base`, or as birder has it."""
    args = (USUAL if base is None else arguments(base)) | dict(given)
    for key, value in given.items():
        if key not in args.keys() - given.keys() | USUAL.keys() | SILENT:
            raise unknown("key", key, USUAL)
        if isinstance(USUAL.get(key), bool) and not isinstance(value, bool):
            raise Error(f"{key} must be true or false, not {value!r}")
        if key in ONLY and value != ONLY[key]:
            raise Error(f"{key} {value!r} is not supported: only {ONLY[key]!r}")
    if base is None and (silent := SIZES.keys() - given.keys()):
        raise Error(f"it does not say {', '.join(sorted(silent))}")
    if args["attn_pool_num_heads"] not in (None, args["num_heads"]):
        raise Error(f"attn_pool_num_heads {args['attn_pool_num_heads']} is not supported: only num_heads, {args['num_heads']}")
    gated, mlp_norm, act = _one_of("mlp_layer_type", args, MLPS)
    pooled = args["attn_pool_head"]
    pool = {"pool_act": _one_of("attn_pool_act_layer_type", args, ACTS), "pool_eps": args["attn_pool_norm_eps"]}
    positions = "all" if args["pos_embed_special_tokens"] else "patches"
    return ViTConfig(
        image=image,
        classes=classes,
        **{ours: args[theirs] for theirs, ours in SIZES.items()},
        cls=args["class_token"],
        registers=args["num_reg_tokens"],
        registers_first=True,
        positions=positions if args["abs_pos_embed"] else "none",
        patch_bias=not args["pre_norm"],
        norm_pre=args["pre_norm"],
        act=act if args["act_layer_type"] is None else _one_of("act_layer_type", args, ACTS),
        eps=args["norm_layer_eps"],
        qkv_bias=args["qkv_bias"],
        qk_norm=args["qk_norm"],
        attn_norm=args["attn_norm"],
        mlp_norm=mlp_norm,
        gated=gated,
        layer_scale=args["layer_scale_init_value"],
        drop_path=args["drop_path_rate"],
        pool="map" if pooled else "token" if args["class_token"] else "mean",
        pool_prefix=pooled and args["attn_pool_special_tokens"],
        norm="none" if not args["post_norm"] else "after" if args["norm_after_pool"] else "before",
        head_bias=args["head_bias"],
        **(pool if pooled else {}),
    )  # fmt: skip


def _one_of(key: str, args: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    if args[key] not in known:
        raise unknown(key, args[key], known)
    return known[args[key]]


def read(bundle: Bundle) -> Spec | None:
    """The Spec of files that say their whole network, or whose name is that of published weights; else None."""
    data, source = bundle.config or {}, Source("birder", reference=REFERENCE)
    with json_file.blame(bundle.path):
        given = _beside(bundle).get("config") or {}
        if "model_config" in data:
            if data.get("name") != "vit":
                raise Error(f"birder's network {data.get('name')!r} is not supported: only its 'vit'")
            return complete(Spec(data["registered_name"], config_of(data["model_config"]), source=source), bundle)
        if USUAL.keys() | SIZES.keys() <= given.keys():  # as `metadata` writes it
            return complete(Spec(bundle.path.stem, config_of(given), source=source), bundle)
    weights = variants.WEIGHTS.get(bundle.path.stem)
    return complete(variants.spec(bundle.path.stem), bundle) if weights and weights.dialect == "birder" else None


def complete(spec: Spec, bundle: Bundle) -> Spec:
    """A row of ours, with what the files say of it: size, classes and their names, colours, and what differs from the row."""
    with json_file.blame(bundle.path):
        beside, row = _beside(bundle), reading(spec.vit, bundle.tensors)
        image, classes = row.image, row.classes
        if beside.get("task", TASK) != TASK:
            raise Error(f"a network for {beside['task']} is not supported: only {TASK}")
        if "signature" in beside:
            _, channels, *image = beside["signature"]["inputs"][0]["data_shape"]
            image, classes = tuple(image), _classes(beside["signature"])
            if channels != 3:
                raise Error(f"{channels} input channels are not supported: only 3, for RGB")
        config = config_of(beside.get("config") or {}, image, classes, row)
        labels = spec.labels if config.classes == spec.config.classes else ()
        if names := beside.get("class_to_idx"):
            labels = tuple(sorted(names, key=names.__getitem__))
            if sorted(names.values()) != list(range(config.classes)):
                raise Error(f"class_to_idx names {len(names)} classes, not each from 0 to {config.classes - 1}: leave it out")
        how = replace(spec.preprocess, size=config.image, crop=1.0, fit="squash", resample="bicubic")
        if rgb := beside.get("rgb_stats"):
            how = replace(how, mean=tuple(map(float, rgb["mean"])), std=tuple(map(float, rgb["std"])))
        return replace(spec, config=config, labels=labels, preprocess=how)


def reading(row: ViTConfig, tensors: Flat) -> ViTConfig:
    """A row as birder runs these tensors: registers lead; attention pooling has its own GELU and eps, unless the row says."""
    pool = {"pool_act": row.pool_act or "gelu", "pool_eps": row.pool_eps or 1e-5} if row.pool == "map" else {}
    bias = "classifier.bias" in tensors or "classifier.weight" not in tensors  # a projection may be without
    return replace(row, registers_first=True, interpolation="cubic", head_bias=bias, **pool)


def _classes(signature: Mapping[str, Any]) -> int:
    return signature["num_labels"] if "num_labels" in signature else signature["outputs"][0]["data_shape"][1]


def _beside(bundle: Bundle) -> dict[str, Any]:
    """What the files say beside the tensors, as plain values; the file of weights before config.json."""
    found = {key: value for key in BESIDE if (value := bundle.meta.get(key)) is not None}
    found |= {key: json_file.parse(value.encode()) for key, value in found.items() if key != "task" and isinstance(value, str)}
    data = bundle.config or {}
    return {key: data[key] for key in ("task", "signature", "rgb_stats") if key in data} | found


def metadata(spec: Spec) -> dict[str, str]:
    """The header with which birder's load_model(NAME, path=..., st=True) opens a file, whichever of its vit_* NAME is."""
    kept = {"class_to_idx": _indexed(spec.labels), "config": arguments(spec.vit)} | _signed(spec)
    return {"birder_version": VERSION, "task": TASK} | {key: json.dumps(value) for key, value in kept.items()}


def write(spec: Spec) -> dict[str, Any]:
    """The config.json with which birder's load_model_with_cfg builds this network, and its preprocessing."""
    how, cfg = spec.preprocess, spec.vit
    if (how.fit, how.crop, how.resample) != ("squash", 1.0, "bicubic"):
        raise Error(
            f"birder squashes pictures, bicubic and uncropped, and its files cannot say otherwise of {spec.name}"
            f" ({how.fit} {how.crop} {how.resample}); export the tensors alone, to a .safetensors file"
        )
    known = {"birder_version": VERSION, "name": "vit", "registered_name": _registered(spec), "task": TASK}
    return {"config.json": known | {"model_config": arguments(cfg)} | _signed(spec)}


def _registered(spec: Spec) -> str:
    """The name that birder has for the network; with a whole config beside it, any of its vit_* will do."""
    arch = variants.architecture_of(spec.name)
    return arch if arch in variants.BIRDER else "vit_b16"


def _signed(spec: Spec) -> dict[str, Any]:
    inputs, outputs = [0, 3, *hw(spec.vit.image)], [0, spec.vit.classes]
    return {
        "signature": {"inputs": [{"data_shape": inputs}], "outputs": [{"data_shape": outputs}]},
        "rgb_stats": {"mean": list(spec.preprocess.mean), "std": list(spec.preprocess.std)},
    }


def _indexed(labels: tuple[str, ...]) -> dict[str, int]:
    """Label -> index. birder has each name once; of ImageNet's two cranes the second becomes "crane (517)"."""
    named: dict[str, int] = {}
    for index, label in enumerate(labels):
        named[f"{label} ({index})" if label in named else label] = index
    return named
