"""birder's dialect: what `ViT` of birder/net/vit.py (0.8.4) calls its tensors, and what it called them before 0.4."""

from __future__ import annotations

import re

from vitjax import variants
from vitjax.config import Error, ViTConfig, hw

from . import birder_settings
from .dialect import Dialect
from .mapping import Rule, conv, dense, norm
from .stored import Flat
from .timm import attention, pool, qkv


def rules(cfg: ViTConfig) -> list[Rule]:
    """birder's tensors of a network."""
    if has_not := [switch for switch, is_so in _without(cfg).items() if is_so]:
        raise Error(f"birder's ViT cannot be such a network ({', '.join(has_not)}); export it in another dialect")
    out = conv("patch", "conv_proj", cfg.patch_bias)
    if cfg.cls:
        out += [Rule("cls", "class_token", "1 1 c -> c")]
    if cfg.registers:
        out += [Rule("registers", "reg_tokens", "1 n c -> n c")]
    if cfg.positions != "none":
        out += [Rule("positions", "pos_embedding", "1 n c -> n c")]
    if cfg.norm_pre:
        out += norm("norm_pre", "encoder.pre_block.0")
    out += _block(cfg)
    if cfg.norm != "none":
        out += norm("norm", "norm" if cfg.norm == "before" else "embedding_norm")
    if cfg.pool == "map":
        out += pool("0", "3")  # birder/layers/attention_pool.py, MultiHeadAttentionPool
    return out + (dense("head", "classifier", cfg.head_bias) if cfg.classes else [])


def _without(cfg: ViTConfig) -> dict[str, bool]:
    """The switches that birder's ViT has not, and whether a network has them."""
    return {
        "registers after the class token": bool(cfg.cls and cfg.registers and not cfg.registers_first),
        "positions='cls'": cfg.positions == "cls",
        "patch_bias and norm_pre" if cfg.norm_pre else "neither patch_bias nor norm_pre": cfg.patch_bias == cfg.norm_pre,
        "bias=False": not cfg.bias,
        "mlp_norm without gated": cfg.mlp_norm and not cfg.gated,
        "norm_post": cfg.norm_post,
        "pool='mean' beside a class token": cfg.pool == "mean" and cfg.cls,
        "pool='token_mean'": cfg.pool == "token_mean",
        "the mean of registers": cfg.pool == "mean" and cfg.pool_prefix and cfg.registers > 0,
        "representation": cfg.representation > 0,
        "distilled": cfg.distilled,
        "rotary": cfg.rotary,
        f"an image of {hw(cfg.image)} in patches of {cfg.patch}": any(side % cfg.patch for side in hw(cfg.image)),
    }


def _block(cfg: ViTConfig) -> list[Rule]:
    out = norm("blocks/norm1", "encoder.block.{i}.norm1") + norm("blocks/norm2", "encoder.block.{i}.norm2")
    out += attention(cfg, "encoder.block.{i}.attn", qkv(cfg, "encoder.block.{i}.attn"))
    if cfg.layer_scale is not None:
        out += [Rule(f"blocks/scale{n}", f"encoder.block.{{i}}.layer_scale_{n}.gamma", "c -> c") for n in (1, 2)]
    ours, theirs = "blocks/mlp", "encoder.block.{i}.mlp"
    if not cfg.gated:  # torchvision's MLP: a product, act, dropout, a product
        return out + dense(f"{ours}/up", f"{theirs}.0") + dense(f"{ours}/down", f"{theirs}.3")
    out += dense(f"{ours}/gate", f"{theirs}.fc1_g") + dense(f"{ours}/up", f"{theirs}.fc1_x")
    if cfg.mlp_norm:
        out += norm(f"{ours}/norm", f"{theirs}.norm")
    return out + dense(f"{ours}/down", f"{theirs}.fc2")


OLDER = {  # how names began before 0.4, when attention was torch.nn.MultiheadAttention -> how they begin since
    r"encoder\.block\.(\d+)\.ln([12])\.": r"encoder.block.\1.norm\2.",
    r"encoder\.block\.(\d+)\.self_attention\.in_proj_": r"encoder.block.\1.attn.qkv.",
    r"encoder\.block\.(\d+)\.self_attention\.out_proj\.": r"encoder.block.\1.attn.proj.",
    r"encoder\.pre_block\.1\.": r"encoder.pre_block.0.",  # the norm follows a dropout, if the network was trained with one
}


def respell(tensors: Flat, cfg: ViTConfig) -> Flat:
    """Names of today. Where both are in a file the older stays as it is, and will be named as one too many."""
    out = {}
    for name, tensor in tensors.items():
        today = next((re.sub(old, new, name) for old, new in OLDER.items() if re.match(old, name)), name)
        out[name if today in tensors else today] = tensor
    return out


BIRDER = Dialect(
    name="birder",
    reference=birder_settings.REFERENCE,
    rules=rules,
    recognise=lambda tensors: "conv_proj.weight" in tensors and any(name.startswith("encoder.block.0.") for name in tensors),
    read_settings=birder_settings.read,
    complete=birder_settings.complete,
    rows=variants.BIRDER,
    reading=birder_settings.reading,
    respell=respell,
    write_settings=birder_settings.write,
    write_metadata=birder_settings.metadata,
)
