"""timm's dialect: what `VisionTransformer` of timm/models/vision_transformer.py (1.0.31) calls its tensors and settings.

deit.py's models (the not distilled ones) are spelt the same; `Eva` of eva.py has its own words for a few of them.
"""

from __future__ import annotations

from dataclasses import replace

from vitjax.config import Error, ViTConfig

from . import timm_settings
from .dialect import Dialect
from .mapping import Rule, conv, dense, norm
from .timm_settings import is_eva

# What of a network timm's VisionTransformer has not: these values, and any but these.
QKV = ("query", "key", "value")
NEVER = {"positions": "cls", "pool": "token_mean"}
WITHOUT = {"registers_first": False, "representation": 0, "distilled": False, "pool_act": None, "pool_eps": None}


def rules(cfg: ViTConfig) -> list[Rule]:
    """timm's tensors of a network."""
    said = [key for key, value in WITHOUT.items() if getattr(cfg, key) != value]
    said += [key for key, value in NEVER.items() if getattr(cfg, key) == value]
    if said:
        listed = ", ".join(f"{key}={getattr(cfg, key)!r}" for key in said)
        raise Error(f"timm's VisionTransformer cannot be such a network: {listed}; export it in its own dialect")
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


TIMM = Dialect(
    name="timm",
    reference="timm 1.0.31",
    rules=rules,
    recognise=lambda tensors: "blocks.0.attn.qkv.weight" in tensors or "patch_embed.proj.weight" in tensors,
    read_settings=timm_settings.read,
    write_settings=lambda spec: {"config.json": timm_settings.write(spec)},
)
