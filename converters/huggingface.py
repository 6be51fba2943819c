"""Hugging Face's dialect: what transformers calls the tensors of ViT, DeiT, DINOv2 (with and without registers) and I-JEPA.

The names are those that `save_pretrained` writes. transformers 5 has others in memory, which are read, too.
CLIP and SigLIP have rooms of their own: huggingface_clip.py and huggingface_clip_settings.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from vitjax import variants
from vitjax.config import CLIPConfig, Config, Preprocess, Spec, TextConfig, Tokenize, ViTConfig

from . import huggingface_clip, huggingface_clip_settings, huggingface_settings
from .dialect import Dialect
from .files import Bundle
from .huggingface_pictures import HALF
from .huggingface_settings import Family, family
from .mapping import Rule, conv, dense, norm
from .stored import Flat, Made, Tensor

PATCHES = "embeddings.patch_embeddings.projection.weight"
# Where the patches of its other networks are, CLIP's among them, and the words of CLIP's texts. What is not read is
# recognised all the same, so that read_settings refuses it by name.
OTHERS = ("embeddings.patch_embeddings.weight", "embeddings.patch_embedding.weight", "embeddings.token_embedding.weight")
MASK = "embeddings.mask_token"  # for masked pretraining, which is not done here

# In the memory of transformers 5 -> on disk; what follows encoder.layer.{i}. In DINOv2's blocks the MLP keeps its name.
ATTENTION = {
    "attention.q_proj.": "attention.attention.query.",
    "attention.k_proj.": "attention.attention.key.",
    "attention.v_proj.": "attention.attention.value.",
    "attention.o_proj.": "attention.output.dense.",
}
MEMORY = {
    True: ATTENTION | {"mlp.down_proj.": "mlp.weights_out."},
    False: ATTENTION | {"mlp.fc1.": "intermediate.dense.", "mlp.fc2.": "output.dense."},
}
LAYER = re.compile(r"(?:encoder\.)?layers?\.(\d+)\.(.*)")
BASE = re.compile(r"((?:\w+\.)*)embeddings\.")
GATE, UP, PACKED = "mlp.gate_proj.", "mlp.up_proj.", "mlp.weights_in."


def rules(cfg: Config) -> list[Rule]:
    """transformers' tensors of a network: those of its class with a head, or of the bare model."""
    if huggingface_clip.ours(cfg):
        return huggingface_clip.rules(cfg)
    assert isinstance(cfg, ViTConfig)
    kind = family(cfg)
    base = f"{kind.prefix}." if cfg.classes else ""
    out = conv("patch", f"{base}embeddings.patch_embeddings.projection")
    if cfg.cls:
        out += [Rule("cls", f"{base}embeddings.cls_token", "1 1 c -> c")]
    if cfg.registers:
        out += [Rule("registers", f"{base}embeddings.{kind.registers}", "1 n c -> n c")]
    if kind.mask:  # its class always has one
        out += [Rule("0", base + MASK, f"1 {cfg.width} -> 1 {cfg.width}")]
    out += [Rule("positions", f"{base}embeddings.position_embeddings", "1 n c -> n c")]
    out += _block(cfg, kind, f"{base}encoder.layer.{{i}}") + norm("norm", f"{base}layernorm")
    if cfg.representation:
        out += dense("pre_logits", f"{base}pooler.dense")
    if cfg.classes and cfg.distilled:
        return out + dense("head", "cls_classifier") + dense("head_distilled", "distillation_classifier")
    return out + (dense("head", "classifier") if cfg.classes else [])


def _block(cfg: ViTConfig, kind: Family, layer: str) -> list[Rule]:
    attn, attention = "blocks/attn", f"{layer}.attention"
    out = [
        rule
        for ours, theirs in zip(("norm1", "norm2"), kind.norms, strict=True)
        for rule in norm(f"blocks/{ours}", f"{layer}.{theirs}")
    ]
    for part in ("query", "key", "value"):
        out += [Rule(f"{attn}/{part}/kernel", f"{attention}.attention.{part}.weight", "(head d) c -> c head d")]
        if cfg.qkv_bias:
            out += [Rule(f"{attn}/{part}/bias", f"{attention}.attention.{part}.bias", "(head d) -> head d")]
    out += [Rule(f"{attn}/out/kernel", f"{attention}.output.dense.weight", "c (head d) -> head d c")]
    out += [Rule(f"{attn}/out/bias", f"{attention}.output.dense.bias", "c -> c")]
    if not kind.dino:
        return out + dense("blocks/mlp/up", f"{layer}.intermediate.dense") + dense("blocks/mlp/down", f"{layer}.output.dense")
    out += [Rule(f"blocks/scale{n}", f"{layer}.layer_scale{n}.lambda1", "c -> c") for n in (1, 2)]
    if not cfg.gated:
        return out + dense("blocks/mlp/up", f"{layer}.mlp.fc1") + dense("blocks/mlp/down", f"{layer}.mlp.fc2")
    out += [Rule("blocks/mlp/{gate,up}/kernel", f"{layer}.{PACKED}weight", "(part o) c -> part c o")]
    out += [Rule("blocks/mlp/{gate,up}/bias", f"{layer}.{PACKED}bias", "(part o) -> part o")]
    return out + dense("blocks/mlp/down", f"{layer}.mlp.weights_out")


def joined(first: Tensor, second: Tensor) -> Made:
    """Two tensors of one shape that are one in another spelling, on their first axis."""
    shape = (2 * first.shape[0], *first.shape[1:])
    return Made(shape, first.dtype, lambda: np.concatenate([np.asarray(first), np.asarray(second)]))


def bare(tensors: Flat) -> dict[str, Tensor]:
    """A file's tensors as the bare model has them, without the prefix that classes with a head give it."""
    prefix = next((found[1] for name in tensors if (found := BASE.match(name))), "")
    out = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return out if len(out) == len(tensors) else dict(tensors)  # two of one name: let both be named


def respell(tensors: Flat, cfg: Config) -> dict[str, Tensor]:
    """The names on disk, with the prefix where there is a head; both halves of a gated MLP in one tensor."""
    if huggingface_clip.ours(cfg):
        return huggingface_clip.respell(tensors, cfg)
    assert isinstance(cfg, ViTConfig)
    kind, found = family(cfg), bare(tensors)
    found.pop(MASK, None)
    out = {_on_disk(name, kind): tensor for name, tensor in found.items()}
    for name in [name for name in out if GATE in name and _joins(out, name)]:
        out[name.replace(GATE, PACKED)] = joined(out.pop(name), out.pop(name.replace(GATE, UP)))
    if kind.mask:
        shape, dtype = (1, cfg.width), next(iter(tensors.values())).dtype
        out[MASK] = Made(shape, dtype, lambda: np.zeros(shape, dtype))
    heads = re.compile(r"(cls_|distillation_)?classifier\.")
    return {name if not cfg.classes or heads.match(name) else f"{kind.prefix}.{name}": tensor for name, tensor in out.items()}


def _on_disk(name: str, kind: Family) -> str:
    layer = LAYER.fullmatch(name)
    if layer is None:
        return name
    number, rest = layer.groups()
    for memory, disk in MEMORY[kind.dino].items():
        if rest.startswith(memory):
            rest = disk + rest.removeprefix(memory)
            break
    return f"encoder.layer.{number}.{rest}"


def _joins(tensors: Flat, name: str) -> bool:
    other = tensors.get(name.replace(GATE, UP))
    return other is not None and (other.shape, other.dtype) == (tensors[name].shape, tensors[name].dtype) and other.shape != ()


def reading(cfg: Config, tensors: Flat) -> Config:
    """A row as transformers builds it by default, and with what only the tensors say: pooler, distillation, head."""
    if huggingface_clip.ours(cfg):
        return huggingface_clip.reading(cfg, tensors)
    assert isinstance(cfg, ViTConfig)
    found, changes = bare(tensors), {}
    if cfg.layer_scale is None:
        changes |= {"eps": 1e-12}
    if "embeddings.register_tokens" in found:
        changes |= {"positions": "cls"}
    if "embeddings.distillation_token" in found:
        changes |= {"registers": 1, "distilled": "distillation_classifier.weight" in found}
    if (pooler := found.get("pooler.dense.weight")) is not None and len(pooler.shape) == 2:
        changes |= {"representation": pooler.shape[0], "classes": 0}
    if cfg.layer_scale is not None and "classifier.weight" in found:
        changes |= {"pool": "token_mean"}
    cfg = replace(cfg, **changes)
    return replace(cfg, interpolation="cubic" if cfg.positions == "cls" else "cubic-pytorch")


def read_settings(bundle: Bundle) -> Spec | None:
    """The Spec of a folder whose config.json is transformers'; None where there is none."""
    clip = (bundle.config or {}).get("model_type") in huggingface_settings.TOWERS
    return (huggingface_clip_settings if clip else huggingface_settings).read(bundle)


def write_settings(spec: Spec) -> Mapping[str, dict[str, Any]]:
    """config.json and preprocessor_config.json, with which transformers builds this network and its pictures."""
    return (huggingface_clip_settings if huggingface_clip.ours(spec.config) else huggingface_settings).write(spec)


HUGGINGFACE = Dialect(
    name="huggingface",
    reference=huggingface_settings.REFERENCE,
    rules=rules,
    recognise=lambda tensors: any(name.endswith((PATCHES, *OTHERS)) for name in tensors),
    read_settings=read_settings,
    reading=reading,
    respell=respell,
    write_settings=write_settings,
    kinds=(ViTConfig, TextConfig, CLIPConfig),
    rows=variants.TIMM | variants.CLIPS,
    says_act=lambda config: not isinstance(config, CLIPConfig) or config.sigmoid,  # CLIPs were trained with either
    ignore=huggingface_clip.BUFFERS,
    pictures=Preprocess(fit="squash", resample="bilinear", mean=HALF, std=HALF, crop=1.0),
    texts=Tokenize("huggingface", pad=Tokenize.end),
)
