"""What timm's classes `VisionTransformer` and `Eva` (1.0.31) are called with to make a network, and the network of a call.

timm_settings.py has the config.json in which such arguments are, timm.py the tensors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitjax.config import Error, ViTConfig, hw, unknown

from .stored import Flat

TRAINING = {  # change no number of a network that is not being trained
    "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "dynamic_img_size",
}  # fmt: skip
VIT_TRAINING = TRAINING | {"weight_init", "fix_init", "strict_img_size"}
EVA_TRAINING = TRAINING | {
    "head_init_scale", "rope_shift_coords", "rope_jitter_coords", "rope_rescale_coords", "rope_mrope_section",
}  # fmt: skip
# What Eva's must be, because we have not what else it can be ...
EVA_ONLY = {
    "attn_type": "eva", "attn_only_layer_scale": False, "norm_layer": None, "dynamic_img_pad": False, "rope_type": "cat",
    "rope_grid_offset": 0, "rope_grid_indexing": "ij", "rope_temperature": 10000, "rope_rotate_half": False,
}  # fmt: skip
# ... unless it says what another argument says.
EVA_SAME = {"num_kv_heads": "num_heads", "attn_pool_num_heads": "num_heads", "attn_pool_mlp_ratio": "mlp_ratio"}
EVA_NULL = {"init_values", "ref_feat_shape", "use_fc_norm", "use_post_transformer_norm"}  # of which null means something

POOLS: dict[str, Any] = {"token": "token", "avg": "mean", "map": "map"}
ACTS = {"gelu": "gelu", "gelu_tanh": "gelu_tanh", "quick_gelu": "quick_gelu", "silu": "silu", "swish": "silu"}
HIDDEN = "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc1_g.weight"  # as many rows as the MLP is wide, or twice


def is_eva(cfg: ViTConfig) -> bool:
    """Whether timm's class for such a network is `Eva`; else it is `VisionTransformer`. Some can be either: those are not."""
    stored = not cfg.qkv_fused or (cfg.gated and (not cfg.packed or cfg.pool == "map"))
    return cfg.rotary or cfg.qkv_bias == "qv" or (not cfg.qkv_bias and stored)


# From ours to theirs


def arguments(cfg: ViTConfig) -> dict[str, Any]:
    """What the class is called with for the network of `cfg`."""
    shared = {
        "img_size": list(hw(cfg.image)),
        "patch_size": cfg.patch,
        "in_chans": 3,
        "num_classes": cfg.classes,
        "global_pool": {ours: theirs for theirs, ours in POOLS.items()}[cfg.pool],
        "embed_dim": cfg.width,
        "depth": cfg.depth,
        "num_heads": cfg.heads,
        "qkv_bias": bool(cfg.qkv_bias),
        "qk_norm": cfg.qk_norm,
        "init_values": cfg.layer_scale,
        "class_token": cfg.cls,
        "no_embed_class": cfg.positions == "patches",
        "drop_path_rate": cfg.drop_path,
    }
    return shared | (_eva(cfg) if is_eva(cfg) else _vit(cfg))


def _vit(cfg: ViTConfig) -> dict[str, Any]:
    default = (cfg.pool == "mean") == (cfg.norm == "after") or cfg.norm == "none"  # timm's own placement: after a mean
    return {
        "mlp_ratio": _ratio(cfg.mlp * (2 if cfg.gated and cfg.packed else 1), cfg.width),
        "scale_attn_norm": cfg.attn_norm,
        "scale_mlp_norm": cfg.mlp_norm,
        "proj_bias": cfg.bias,
        "pos_embed": "none" if cfg.positions == "none" else "learn",
        "reg_tokens": cfg.registers,
        "pre_norm": cfg.norm_pre,
        "final_norm": cfg.norm != "none",
        "fc_norm": None if default else cfg.norm == "after",
        "pool_include_prefix": cfg.pool_prefix,
        "act_layer": cfg.act,
        "init_values": 1e-5 if cfg.layer_scale == 0 else cfg.layer_scale,  # of 0 it makes no scale, Eva does
    }


def _eva(cfg: ViTConfig) -> dict[str, Any]:
    before, after = cfg.norm == "before", cfg.norm == "after"
    return {
        "mlp_ratio": _ratio(cfg.mlp, cfg.width),
        "qkv_fused": cfg.qkv_fused,
        "swiglu_mlp": cfg.gated,
        # without a norm timm has gate and up as one, unless told to round their width up
        "swiglu_align_to": int(cfg.gated and not cfg.packed and not cfg.mlp_norm),
        "scale_mlp": cfg.mlp_norm,
        "scale_attn_inner": cfg.attn_norm,
        "num_reg_tokens": cfg.registers,
        "use_abs_pos_emb": cfg.positions != "none",
        "use_rot_pos_emb": cfg.rotary,
        "ref_feat_shape": None if cfg.rotary_grid is None else list(hw(cfg.rotary_grid)),
        "use_post_norm": cfg.norm_post,
        "use_pre_transformer_norm": cfg.norm_pre,
        "use_fc_norm": None if after == (cfg.pool == "mean") else after,
        "use_post_transformer_norm": None if before == (not after) else before,
    }


def _ratio(hidden: int, width: int) -> float:
    ratio = hidden / width
    return math.nextafter(ratio, math.inf) if int(width * ratio) < hidden else ratio  # timm truncates the product


# From theirs to ours


def network(row: ViTConfig, cfg: Mapping[str, Any], given: Mapping[str, Any], tensors: Flat) -> ViTConfig:
    """The row's network with what `pretrained_cfg` and then `model_args` say of it."""
    args = arguments(row)
    _known(args, given, row)
    if cfg.get("input_size"):
        args["in_chans"], *args["img_size"] = cfg["input_size"]
    if (classes := cfg.get("num_classes")) is not None:
        args["num_classes"] = classes
    null = EVA_NULL if is_eva(row) else {"init_values", "fc_norm"}
    args |= {key: value for key, value in given.items() if value is not None or key in null}
    if args["in_chans"] != 3:
        raise Error(
            f"in_chans={args['in_chans']}: vitjax reads RGB; save it from timm's create_model(..., in_chans=3), "
            "which adapts the weights"
        )
    if args["global_pool"] not in POOLS:
        raise Error(f"global_pool {args['global_pool']!r} is not supported: only {', '.join(POOLS)}")
    if not isinstance(args["qkv_bias"], bool):
        raise Error(f"qkv_bias {args['qkv_bias']!r} is not supported: only true and false")
    own = _eva_network(args) if is_eva(row) else _vit_network(row, args, given)
    shared = replace(
        row,
        image=_square(args["img_size"]),
        patch=_side(args["patch_size"]),
        width=args["embed_dim"],
        depth=args["depth"],
        heads=args["num_heads"],
        classes=args["num_classes"],
        cls=args["class_token"],
        qk_norm=args["qk_norm"],
        drop_path=args["drop_path_rate"],
        pool=POOLS[args["global_pool"]],
        **own,
    )
    return replace(shared, mlp=_hidden(shared, args, given, tensors))


def _known(args: Mapping[str, Any], given: Mapping[str, Any], row: ViTConfig) -> None:
    """Raise Error for an argument that the class has not, or we cannot follow."""
    eva = is_eva(row)
    others = EVA_TRAINING | {*EVA_ONLY, *EVA_SAME} if eva else VIT_TRAINING | {"norm_layer", "dynamic_img_pad"}
    for key, value in given.items():
        if key not in args and key not in others:
            raise unknown("model_args", key, [*args, *others])
        if not eva:
            continue
        if value is None and key in args and key not in EVA_NULL:
            raise Error(f"{key} null is not supported: leave it out, or say its value")
        if value != EVA_ONLY.get(key, value):
            raise Error(f"{key} {value!r} is not supported: only {EVA_ONLY[key]!r}")
        if key in EVA_SAME and value not in (None, same := {**args, **given}[EVA_SAME[key]]):
            raise Error(f"{key} {value!r} is not supported: only that of {EVA_SAME[key]}, {same!r}")
    if not eva and (given.get("dynamic_img_pad") or given.get("norm_layer") not in (None, "layernorm")):
        raise Error("dynamic_img_pad is not supported, and of norm_layer only layernorm")


def _vit_network(row: ViTConfig, args: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    if args["act_layer"] not in ACTS:
        raise unknown("act_layer", args["act_layer"], ACTS)
    after = args["global_pool"] == "avg" if args["fc_norm"] is None else bool(args["fc_norm"])
    learned = "patches" if args["no_embed_class"] else "all"
    return dict(
        registers=args["reg_tokens"],
        positions=learned if args["pos_embed"] == "learn" else "none",
        patch_bias=not args["pre_norm"],
        norm_pre=args["pre_norm"],
        act=ACTS[args["act_layer"]],
        eps=1e-6 if given.get("norm_layer") else row.eps,
        qkv_bias=args["qkv_bias"],
        bias=args["proj_bias"],
        attn_norm=args["scale_attn_norm"],
        mlp_norm=args["scale_mlp_norm"],
        layer_scale=args["init_values"] or None,
        pool_prefix=args["pool_include_prefix"],
        norm="none" if not args["final_norm"] else "after" if after else "before",
    )


def _eva_network(args: Mapping[str, Any]) -> dict[str, Any]:
    after, before = args["use_fc_norm"], args["use_post_transformer_norm"]
    after = args["global_pool"] == "avg" if after is None else after
    before = not after if before is None else before
    if before and after:
        raise Error(
            "use_post_transformer_norm and use_fc_norm are not supported together: vitjax has one final norm, set one of them"
        )
    gated, post, rotary, grid = (args[key] for key in ("swiglu_mlp", "use_post_norm", "use_rot_pos_emb", "ref_feat_shape"))
    mapped, learned = args["global_pool"] == "map", "patches" if args["no_embed_class"] else "all"
    return dict(
        registers=args["num_reg_tokens"],
        positions=learned if args["use_abs_pos_emb"] else "none",
        rotary=rotary,
        rotary_grid=_square(grid) if rotary else None,
        patch_bias=not args["use_pre_transformer_norm"],
        norm_pre=args["use_pre_transformer_norm"],
        act="silu" if gated else "gelu",
        qkv_bias="qv" if args["qkv_bias"] else False,
        qkv_fused=args["qkv_fused"],
        attn_norm=args["scale_attn_inner"],
        mlp_norm=args["scale_mlp"],
        gated=gated,
        packed=bool(gated and not args["scale_mlp"] and (post or not args["swiglu_align_to"])),
        norm_post=post,
        layer_scale=None if post or args["init_values"] is None else float(args["init_values"]),  # 0 is a value, too
        pool_prefix=mapped,  # its attention pooling sees all tokens, its mean the patches
        pool_act="gelu" if mapped and gated else None,
        norm="after" if after else "before" if before else "none",
    )


def _hidden(cfg: ViTConfig, args: Mapping[str, Any], given: Mapping[str, Any], tensors: Flat) -> int:
    """The MLP's width. timm truncates embed_dim * mlp_ratio, and a row keeps the product only: the tensor says it exactly."""
    if not {"embed_dim", "mlp_ratio", "swiglu_align_to"} & set(given):
        return cfg.mlp
    packed = 2 if cfg.gated and cfg.packed else 1
    for name in HIDDEN:
        if name in tensors and tensors[name].shape:
            return tensors[name].shape[0] // packed
    hidden = int(args["embed_dim"] * args["mlp_ratio"])
    if "swiglu_mlp" not in args:
        return hidden // packed
    align = args["swiglu_align_to"] if cfg.gated and not cfg.packed else 0
    return hidden + (-hidden % align if align else 0)


def _square(size: Any) -> Any:
    return tuple(size) if isinstance(size, list | tuple) else size


def _side(size: Any) -> Any:
    if isinstance(size, list | tuple) and len(set(size)) == 1:
        return size[0]
    return size
