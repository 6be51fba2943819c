"""What transformers calls the tensors of CLIP and SigLIP: of both towers, or of one.

The names are those that all versions read. A tower's class by itself writes them without `vision_model.` or `text_model.`
since transformers 5, which is read, too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vitjax.config import CLIPConfig, Config, TextConfig, ViTConfig

from .huggingface_clip_settings import model_type
from .mapping import Rule, conv, dense, norm, under
from .stored import Flat, Tensor

IMAGE, TEXT = "vision_model.", "text_model."
VISUAL, TEXTUAL = "visual_projection", "text_projection"
LOGITS = ("logit_scale", "logit_bias")
# Of old files, in which they count from 0 on.
BUFFERS = (r"(vision|text)_model\.embeddings\.position_ids",)


def ours(cfg: Config) -> bool:
    """Whether a network is for this room, rather than a ViT."""
    if isinstance(cfg, ViTConfig):
        return (cfg.norm_pre and not cfg.patch_bias) or (cfg.pool == "map" and not cfg.cls)
    return True


def rules(cfg: Config) -> list[Rule]:
    """transformers' tensors of a network."""
    model_type(cfg)
    match cfg:
        case CLIPConfig():
            scales = [Rule(name, name, "1 -> " if cfg.sigmoid else " -> ") for name in LOGITS[: 1 + cfg.sigmoid]]
            return under("image/", "", _image(cfg.image)) + under("text/", "", _text(cfg.text)) + scales
        case ViTConfig():
            return _image(cfg)
        case TextConfig():
            return _text(cfg)


def _image(cfg: ViTConfig) -> list[Rule]:
    out = conv("patch", f"{IMAGE}embeddings.patch_embedding", cfg.patch_bias)
    if cfg.cls:
        out += [Rule("cls", f"{IMAGE}embeddings.class_embedding", "c -> c")]
    out += [Rule("positions", f"{IMAGE}embeddings.position_embedding.weight", "n c -> n c")]
    if cfg.norm_pre:
        out += norm("norm_pre", f"{IMAGE}pre_layrnorm")  # sic
    out += _blocks(IMAGE) + norm("norm", f"{IMAGE}post_layernorm")
    if cfg.pool == "map":
        out += _pool(f"{IMAGE}head")
    return out + (dense("head", VISUAL, bias=False) if cfg.classes else [])


def _text(cfg: TextConfig) -> list[Rule]:
    out = [Rule("embedding", f"{TEXT}embeddings.token_embedding.weight", "v c -> v c")]
    out += [Rule("positions", f"{TEXT}embeddings.position_embedding.weight", "n c -> n c")]
    out += _blocks(TEXT) + norm("norm", f"{TEXT}final_layer_norm")
    if not cfg.causal:
        return out + dense("head", f"{TEXT}head")
    return out + (dense("head", TEXTUAL, bias=False) if cfg.classes else [])


def _blocks(tower: str) -> list[Rule]:
    layer, attn = f"{tower}encoder.layers.{{i}}", f"{tower}encoder.layers.{{i}}.self_attn"
    out = norm("blocks/norm1", f"{layer}.layer_norm1") + norm("blocks/norm2", f"{layer}.layer_norm2")
    for part in ("query", "key", "value"):
        out += [Rule(f"blocks/attn/{part}/kernel", f"{attn}.{part[0]}_proj.weight", "(head d) c -> c head d")]
        out += [Rule(f"blocks/attn/{part}/bias", f"{attn}.{part[0]}_proj.bias", "(head d) -> head d")]
    out += [Rule("blocks/attn/out/kernel", f"{attn}.out_proj.weight", "c (head d) -> head d c")]
    out += [Rule("blocks/attn/out/bias", f"{attn}.out_proj.bias", "c -> c")]
    return out + dense("blocks/mlp/up", f"{layer}.mlp.fc1") + dense("blocks/mlp/down", f"{layer}.mlp.fc2")


def _pool(head: str) -> list[Rule]:
    return [
        Rule("pool/probe", f"{head}.probe", "1 1 c -> c"),
        Rule("pool/attn/{query,key,value}/kernel", f"{head}.attention.in_proj_weight", "(part head d) c -> part c head d"),
        Rule("pool/attn/{query,key,value}/bias", f"{head}.attention.in_proj_bias", "(part head d) -> part head d"),
        Rule("pool/attn/out/kernel", f"{head}.attention.out_proj.weight", "c (head d) -> head d c"),
        Rule("pool/attn/out/bias", f"{head}.attention.out_proj.bias", "c -> c"),
        *norm("pool/norm", f"{head}.layernorm"),
        *dense("pool/mlp/up", f"{head}.mlp.fc1"),
        *dense("pool/mlp/down", f"{head}.mlp.fc2"),
    ]


def respell(tensors: Flat, cfg: Config) -> dict[str, Tensor]:
    """The names of `rules`. Where one tower is wanted of two, the other's tensors are left out, and stay unread."""
    if isinstance(cfg, CLIPConfig):
        return dict(tensors)
    mine, others = ((IMAGE, VISUAL), (TEXT, TEXTUAL)) if isinstance(cfg, ViTConfig) else ((TEXT, TEXTUAL), (IMAGE, VISUAL))
    found = {name: tensor for name, tensor in tensors.items() if not name.startswith(others) and name not in LOGITS}
    if any(name.startswith(mine[0]) for name in found):
        return found
    return {name if name.startswith(mine[1]) else mine[0] + name: tensor for name, tensor in found.items()}


def reading(cfg: Any, tensors: Flat) -> Any:
    """A row as transformers runs it. CLIP's activation is the row's: it was published with either."""
    match cfg:
        case CLIPConfig():
            act = {"act": "gelu_tanh"} if cfg.sigmoid else {}
            return replace(cfg, image=reading(cfg.image, tensors), text=replace(cfg.text, **act))
        case ViTConfig():
            own = {"head_bias": False} if cfg.norm_pre else {"act": "gelu_tanh", "pool_act": None, "pool_eps": None}
            return replace(cfg, interpolation="cubic-pytorch", **own)
    return cfg
