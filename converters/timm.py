"""timm's dialect: what `VisionTransformer` of timm/models/vision_transformer.py (1.0.31) calls its tensors and settings.

deit.py's models (the not distilled ones) are spelt the same; `Eva` of eva.py has its own words for a few of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from vitjax.config import Error, ViTConfig

from . import timm_settings
from .dialect import Dialect
from .mapping import Rule, conv, dense, norm
from .stored import Flat
from .timm_arguments import is_eva

QKV = ("query", "key", "value")
# What of a network timm has not: in neither class ...
Lacks = dict[str, Callable[[ViTConfig], bool]]
NEITHER: Lacks = {
    "positions": lambda cfg: cfg.positions == "cls",
    "pool": lambda cfg: cfg.pool == "token_mean",
    "registers_first": lambda cfg: cfg.registers_first,
    "representation": lambda cfg: bool(cfg.representation),
    "distilled": lambda cfg: cfg.distilled,
    "patch_bias": lambda cfg: cfg.patch_bias == cfg.norm_pre,
}
VIT: Lacks = {
    "pool_act": lambda cfg: cfg.pool_act is not None,
    "pool_eps": lambda cfg: cfg.pool_eps is not None,
}
# ... and in `Eva`: no argument says these, or its two kinds of Block and its pooling leave them out.
EVA: Lacks = {
    "qkv_bias": lambda cfg: cfg.qkv_bias is True,
    "bias": lambda cfg: not cfg.bias,
    "act": lambda cfg: cfg.act != ("silu" if cfg.gated else "gelu"),
    "packed": lambda cfg: cfg.gated and cfg.packed == cfg.mlp_norm and (cfg.packed or cfg.norm_post),
    "layer_scale": lambda cfg: cfg.norm_post and cfg.layer_scale is not None,
    "qk_norm": lambda cfg: cfg.norm_post and cfg.qk_norm,
    "pool_act": lambda cfg: cfg.pool == "map" and (cfg.pool_act or cfg.act) != "gelu",
    "pool_eps": lambda cfg: cfg.pool == "map" and (cfg.pool_eps or cfg.eps) != cfg.eps,
    # its attention pooling sees all tokens, its mean those of patches
    "pool_prefix": lambda cfg: cfg.prefix > 0 and cfg.pool != "token" and cfg.pool_prefix != (cfg.pool == "map"),
}


def rules(cfg: ViTConfig) -> list[Rule]:
    """timm's tensors of a network; Error if no class of timm's can be it."""
    lacks = NEITHER | (EVA if is_eva(cfg) else VIT)
    if said := [key for key, lacking in lacks.items() if lacking(cfg)]:
        name, listed = "Eva" if is_eva(cfg) else "VisionTransformer", ", ".join(f"{key}={getattr(cfg, key)!r}" for key in said)
        raise Error(f"timm's {name} cannot be such a network: {listed}; export it in its own dialect")
    return tensors(cfg)


def tensors(cfg: ViTConfig) -> list[Rule]:
    """What timm calls the tensors of a network, whether or not its code can run it."""
    out = conv("patch", "patch_embed.proj", cfg.patch_bias)
    if cfg.cls:
        out += [Rule("cls", "cls_token", "1 1 c -> c")]
    if cfg.registers:
        out += [Rule("registers", "reg_token", "1 n c -> n c")]
    if cfg.positions != "none":
        out += [Rule("positions", "pos_embed", "1 n c -> n c")]
    if cfg.norm_pre:
        out += norm("norm_pre", "norm_pre")
    out += _block(cfg)
    if cfg.norm != "none":
        out += norm("norm", "norm" if cfg.norm == "before" else "fc_norm")
    if cfg.pool == "map":
        out += pool("fc1", "fc2")
    if cfg.classes:
        out += dense("head", "head", cfg.head_bias)
        if not cfg.head_bias:  # timm's classifier always has one: CLIP's projection, which has none, is published with zeros
            out += [Rule("0", "head.bias", f"{cfg.classes} -> {cfg.classes}")]
    return out


def _block(cfg: ViTConfig) -> list[Rule]:
    out = norm("blocks/norm1", "blocks.{i}.norm1") + norm("blocks/norm2", "blocks.{i}.norm2")
    out += attention(cfg, "blocks.{i}.attn", eva_qkv(cfg) if is_eva(cfg) else qkv(cfg, "blocks.{i}.attn"))
    if cfg.layer_scale is not None:
        scale = "blocks.{{i}}.gamma_{n}" if is_eva(cfg) else "blocks.{{i}}.ls{n}.gamma"
        out += [Rule(f"blocks/scale{n}", scale.format(n=n), "c -> c") for n in (1, 2)]
    return out + _mlp(cfg)


def attention(cfg: ViTConfig, theirs: str, products: list[Rule]) -> list[Rule]:
    """The attention of a block, its `products` query, key and value among it. birder has taken it over."""
    ours = "blocks/attn"
    if cfg.qk_norm:
        products += norm(f"{ours}/query_norm", f"{theirs}.q_norm") + norm(f"{ours}/key_norm", f"{theirs}.k_norm")
    if cfg.attn_norm:
        products += norm(f"{ours}/norm", f"{theirs}.norm")
    products += [Rule(f"{ours}/out/kernel", f"{theirs}.proj.weight", "c (head d) -> head d c")]
    return products + ([Rule(f"{ours}/out/bias", f"{theirs}.proj.bias", "c -> c")] if cfg.bias else [])


def qkv(cfg: ViTConfig, theirs: str) -> list[Rule]:
    """Query, key and value as one tensor of theirs, in whose bias EVA's key has zeros."""
    out = [Rule("blocks/attn/{query,key,value}/kernel", f"{theirs}.qkv.weight", "(part head d) c -> part c head d")]
    parts = "{query,0,value}" if cfg.qkv_bias == "qv" else "{query,key,value}"
    bias = Rule(f"blocks/attn/{parts}/bias", f"{theirs}.qkv.bias", "(part head d) -> part head d")
    return [*out, bias] if cfg.qkv_bias else out


def eva_qkv(cfg: ViTConfig) -> list[Rule]:
    """The same in `EvaAttention`: one tensor or three, and the biases of query and value by themselves."""
    ours, theirs = "blocks/attn", "blocks.{i}.attn"
    if cfg.qkv_fused:
        out, bias = qkv(replace(cfg, qkv_bias=False), theirs), "_bias"
    else:
        out = [Rule(f"{ours}/{n}/kernel", f"{theirs}.{n[0]}_proj.weight", "(head d) c -> c head d") for n in QKV]
        bias = "_proj.bias"
    biased = ("query", "value") if cfg.qkv_bias else ()
    return out + [Rule(f"{ours}/{n}/bias", f"{theirs}.{n[0]}{bias}", "(head d) -> head d") for n in biased]


def _mlp(cfg: ViTConfig) -> list[Rule]:
    mlp, fc = "blocks/mlp", "blocks.{i}.mlp"
    if cfg.gated and cfg.packed:  # SwiGLUPacked: the gate is the first half
        out = [Rule(mlp + "/{gate,up}/kernel", f"{fc}.fc1.weight", "(part o) c -> part c o")]
        out += [Rule(mlp + "/{gate,up}/bias", f"{fc}.fc1.bias", "(part o) -> part o")] if cfg.bias else []
    elif cfg.gated:  # SwiGLU
        out = dense(f"{mlp}/gate", f"{fc}.fc1_g", cfg.bias) + dense(f"{mlp}/up", f"{fc}.fc1_x", cfg.bias)
    else:
        out = dense(f"{mlp}/up", f"{fc}.fc1", cfg.bias)
    if cfg.mlp_norm:
        out += norm(f"{mlp}/norm", f"{fc}.norm")
    return out + dense(f"{mlp}/down", f"{fc}.fc2", cfg.bias)


def pool(up: str, down: str) -> list[Rule]:
    """timm/layers/attention_pool.py, AttentionPoolLatent, which birder has taken over with other names in its MLP."""
    return [
        Rule("pool/probe", "attn_pool.latent", "1 1 c -> c"),
        Rule("pool/attn/query/kernel", "attn_pool.q.weight", "(head d) c -> c head d"),
        Rule("pool/attn/query/bias", "attn_pool.q.bias", "(head d) -> head d"),
        Rule("pool/attn/{key,value}/kernel", "attn_pool.kv.weight", "(part head d) c -> part c head d"),
        Rule("pool/attn/{key,value}/bias", "attn_pool.kv.bias", "(part head d) -> part head d"),
        Rule("pool/attn/out/kernel", "attn_pool.proj.weight", "c (head d) -> head d c"),
        Rule("pool/attn/out/bias", "attn_pool.proj.bias", "c -> c"),
        *norm("pool/norm", "attn_pool.norm"),
        *dense("pool/mlp/up", f"attn_pool.mlp.{up}"),
        *dense("pool/mlp/down", f"attn_pool.mlp.{down}"),
    ]


def respell(theirs: Flat, cfg: ViTConfig) -> Flat:
    """An `Eva` that VisionTransformer can be, too, in its words."""
    if is_eva(cfg):
        return theirs
    return {re.sub(r"^(blocks\.\d+\.)gamma_([12])$", r"\1ls\2.gamma", name): tensor for name, tensor in theirs.items()}


TIMM = Dialect(
    name="timm",
    reference="timm 1.0.31",
    rules=rules,
    recognise=lambda tensors: "blocks.0.attn.qkv.weight" in tensors or "patch_embed.proj.weight" in tensors,
    read_settings=timm_settings.read,
    respell=respell,
    write_settings=lambda spec: {"config.json": timm_settings.write(spec)},
)
