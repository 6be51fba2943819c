"""The dialect of Google's own code: what vision_transformer (AugReg's files too) and big_vision call their tensors.

vision_transformer (vit_jax/models_vit.py) gives every token a position, the class token too; its published files keep the
counters of pre-Linen flax: MlpBlock_3. big_vision (models/vit.py) gives positions to the patches and then puts the class
token in front, if there is one. A network of ours with a class token is spelt by where its positions are; one without is
spelt as by big_vision. Both run the tanh GELU and an eps of 1e-6, whatever other libraries make of the same weights.

big_vision alone has text towers (models/proj/image_text/text_transformer.py), which see every token, padding too, and pairs of
towers: SigLIP's, and, without the bias `b`, LiT's.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np

from vitjax import variants
from vitjax.config import CLIPConfig, Config, Error, Preprocess, Spec, TextConfig, Tokenize, ViTConfig

from .dialect import Dialect
from .files import Bundle
from .google_trees import NEW, OLD, TOWERS, TRAINING, check, recognise, split, tower, unstacked
from .mapping import Rule, under
from .stored import Flat, Made, Tensor

# What of a network neither library has; these are the values that they run.
BLOCKS = {
    "qkv_bias": True, "bias": True, "qk_norm": False, "attn_norm": False, "mlp_norm": False, "gated": False, "norm_post": False,
    "layer_scale": None,
}  # fmt: skip
WITHOUT = BLOCKS | {
    "registers": 0, "patch_bias": True, "norm_pre": False, "norm": "before", "head_bias": True, "distilled": False,
    "rotary": False,
}  # fmt: skip

INLINED = "probe", "MultiHeadDotProductAttention_0/", "LayerNorm_0/", "MlpBlock_0/"  # MAPHead_0's, before it was a module
TWICE = "Encoder_0/pos_embedding"  # more positions of texts, in older files


def rules(cfg: Config) -> list[Rule]:
    """The tensors of a network, in the spelling of the library that has it."""
    match cfg:
        case ViTConfig():
            return _image(cfg)
        case TextConfig():
            return _text(cfg)
        case CLIPConfig():
            out = under("image/", "img/", _image(cfg.image)) + under("text/", "txt/", _text(cfg.text))
            out += [Rule("logit_scale", "t", "1 -> ")]  # a logarithm there, too
            return out + ([Rule("logit_bias", "b", "1 -> ")] if cfg.sigmoid else [])


def _image(cfg: ViTConfig) -> list[Rule]:
    said = [key for key, value in WITHOUT.items() if getattr(cfg, key) != value]
    said += ["cls", "pool"] if cfg.pool not in (("token",) if cfg.cls else ("mean", "map")) else []
    said += ["positions"] if cfg.positions not in ("all", "patches") else []
    _refuse("Vision Transformers", cfg, said)
    first = cfg.cls and cfg.positions == "all"
    out = _dense("patch", "embedding", "h w c o")
    out += [Rule("cls", "cls", "1 1 c -> c")] if cfg.cls else []
    out += [Rule("positions", "Transformer/posembed_input/pos_embedding" if first else "pos_embedding", "1 n c -> n c")]
    out += _encoder("Transformer", OLD if first else NEW) + _map(cfg)
    out += _dense("pre_logits", "pre_logits") if cfg.representation else []
    return out + (_dense("head", "head") if cfg.classes else [])


def _text(cfg: TextConfig) -> list[Rule]:
    said = [key for key, value in (BLOCKS | {"causal": False}).items() if getattr(cfg, key) != value]
    said += ["pool"] if cfg.pool not in ("last", "map") else []
    said += ["head_bias"] if cfg.classes and not cfg.head_bias else []
    _refuse("text towers", cfg, said)
    out = [Rule("embedding", "Embed_0/embedding", "v c -> v c"), Rule("positions", "pos_embedding", "1 n c -> n c")]
    return out + _encoder("Encoder_0", NEW) + _map(cfg) + (_dense("head", "head") if cfg.classes else [])


def _refuse(what: str, cfg: ViTConfig | TextConfig, said: list[str]) -> None:
    """Raise Error for a network that neither library has, by the switches in which it differs."""
    if cfg.pool == "map":
        said += [key for key, used in (("pool_act", cfg.act), ("pool_eps", cfg.eps)) if getattr(cfg, key) not in (None, used)]
    if said:
        listed = ", ".join(f"{key}={getattr(cfg, key)!r}" for key in said)
        raise Error(f"Google's {what} cannot be such a network: {listed}; export it in its own dialect")


def _norm(ours: str, theirs: str) -> list[Rule]:
    return [Rule(f"{ours}/{leaf}", f"{theirs}/{leaf}", "c -> c") for leaf in ("scale", "bias")]


def _dense(ours: str, theirs: str, kernel: str = "c o") -> list[Rule]:
    return [Rule(f"{ours}/kernel", f"{theirs}/kernel", f"{kernel} -> {kernel}"), Rule(f"{ours}/bias", f"{theirs}/bias", "o -> o")]


def _attention(ours: str, theirs: str) -> list[Rule]:
    out = _dense(f"{ours}/out", f"{theirs}/out", "head d o")
    for part in "query", "key", "value":
        out += [Rule(f"{ours}/{part}/kernel", f"{theirs}/{part}/kernel", "c head d -> c head d")]
        out += [Rule(f"{ours}/{part}/bias", f"{theirs}/{part}/bias", "head d -> head d")]
    return out


def _mlp(ours: str, theirs: str) -> list[Rule]:
    return _dense(f"{ours}/up", f"{theirs}/Dense_0") + _dense(f"{ours}/down", f"{theirs}/Dense_1")


def _encoder(theirs: str, modules: tuple[str, str, str]) -> list[Rule]:
    """The blocks and the final norm, the blocks' modules under the names that their library counts them by."""
    block, (attention, norm2, mlp) = f"{theirs}/encoderblock_{{i}}", modules
    out = _norm("blocks/norm1", f"{block}/LayerNorm_0") + _attention("blocks/attn", f"{block}/{attention}")
    out += _norm("blocks/norm2", f"{block}/{norm2}") + _mlp("blocks/mlp", f"{block}/{mlp}")
    return out + _norm("norm", f"{theirs}/encoder_norm")


def _map(cfg: ViTConfig | TextConfig) -> list[Rule]:
    """Attention pooling, where a tower has it."""
    out = [Rule("pool/probe", "MAPHead_0/probe", "1 1 c -> c"), *_attention("pool/attn", f"MAPHead_0/{NEW[0]}")]
    out += _norm("pool/norm", "MAPHead_0/LayerNorm_0") + _mlp("pool/mlp", f"MAPHead_0/{NEW[2]}")
    return out if cfg.pool == "map" else []


def refuse(bundle: Bundle) -> Spec | None:
    """Nothing in such a file says what network it holds; but some say that it is none of ours, or more than one."""
    check(bundle.path, bundle.tensors)
    return None


def reading(row: Any, tensors: Flat) -> Any:
    """A row as Google's code runs it, with what only the tensors say: where positions are, and how a plain ViT is pooled."""
    if isinstance(row, CLIPConfig):
        return replace(row, image=reading(row.image, tensors), text=reading(row.text, tensors))
    row = replace(row, act="gelu_tanh", eps=1e-6)
    if isinstance(row, TextConfig):
        return row
    row = replace(row, interpolation="bilinear")
    names = {_newest(name): tensor.shape for name, tensor in tower(tensors, row.kind).items()}
    for name in "pre_logits/bias", "pre_logits/kernel":
        row = replace(row, representation=names[name][-1]) if names.get(name) else row
    if row.pool != "token":  # a row that says how it is pooled is taken at its word
        return row
    count, patches = (*names.get("pos_embedding", ()), 0, 0)[1], math.prod(row.grid)
    if any(name.startswith("MAPHead_0/") for name in names):
        return replace(row, cls=False, pool="map")
    if "cls" not in names and count == patches:
        return replace(row, cls=False, pool="mean")
    return replace(row, positions={patches: "patches", patches + 1: "all"}.get(count, row.positions))


def respell(tensors: Flat, cfg: Config) -> Flat:
    """Prefixes, stacked blocks and older names undone. Of two towers, the one that `cfg` is not is left in the file."""
    if not isinstance(cfg, CLIPConfig):
        return _respelt(tower(tensors, cfg.kind), cfg)
    found = split(tensors)
    out = dict(found[""])
    for part in cfg.image, cfg.text:
        own = TOWERS[part.kind]
        out |= {own + name: tensor for name, tensor in _respelt(found[own], part).items()}
    return out


def _respelt(tensors: Flat, cfg: ViTConfig | TextConfig) -> dict[str, Tensor]:
    """One tower's, as fix_old_checkpoints of big_vision's models/vit.py does, and `load` of its text_transformer.py."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found |= unstacked(name, tensor, cfg.depth)
    spelt = {_newest(rule.theirs): rule.theirs for rule in rules(cfg)}
    wanted = {new.replace("{i}", str(i)): name.replace("{i}", str(i)) for new, name in spelt.items() for i in range(cfg.depth)}
    out: dict[str, Tensor] = {}
    for name, tensor in found.items():
        ours = wanted.get(_newest(name), name)
        out[name if ours in found or ours in out else ours] = tensor  # a second spelling of the same is left, as unexpected
    if isinstance(cfg, TextConfig):
        return _added(out, cfg)
    return _summed(out, cfg) if cfg.cls and cfg.positions == "patches" else out


def _newest(name: str) -> str:
    """A name of any version in big_vision's spelling of today."""
    name = re.sub(r"^Transformer/(posembed_input/)?pos_embedding$", "pos_embedding", name)
    name = f"MAPHead_0/{name}" if name.startswith(INLINED) else name
    for old, new in zip(OLD, NEW, strict=True):
        name = name.replace(f"/{old}/", f"/{new}/")
    return name


def _summed(tensors: dict[str, Tensor], cfg: ViTConfig) -> dict[str, Tensor]:
    """An older file's position of the class token added to the token itself: there only their sum is used."""
    cls, positions, patches = tensors.get("cls"), tensors.get("pos_embedding"), math.prod(cfg.grid)
    if cls is None or positions is None or (cls.shape, positions.shape) != ((1, 1, cfg.width), (1, 1 + patches, cfg.width)):
        return tensors
    token = Made(cls.shape, cls.dtype, lambda: np.asarray(cls) + np.asarray(positions)[:, :1].astype(cls.dtype))
    others = Made((1, patches, cfg.width), positions.dtype, lambda: np.asarray(positions)[:, 1:])
    return tensors | {"cls": token, "pos_embedding": others}


def _added(tensors: dict[str, Tensor], cfg: TextConfig) -> dict[str, Tensor]:
    """An older file's second positions of texts added to the first: its network had both, by mistake."""
    first, second, shape = tensors.get("pos_embedding"), tensors.get(TWICE), (1, cfg.context, cfg.width)
    if first is None or second is None or (first.shape, second.shape) != (shape, shape):
        return tensors
    both = Made(shape, first.dtype, lambda: np.asarray(first) + np.asarray(second).astype(first.dtype))
    return {name: tensor for name, tensor in tensors.items() if name != TWICE} | {"pos_embedding": both}


GOOGLE = Dialect(
    name="google",
    reference="google-research/vision_transformer c6de1e5, google-research/big_vision 0127fb6",
    rules=rules,
    recognise=recognise,
    read_settings=refuse,
    reading=reading,
    respell=respell,
    write_metadata=lambda spec: {"format": "flax"},
    kinds=(ViTConfig, TextConfig, CLIPConfig),
    rows=variants.TIMM | variants.CLIPS,
    ignore=(TRAINING,),
    pictures=Preprocess(fit="squash", crop=1.0, resample="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    # tokenize(max_len, model="c4_en", eos="sticky", pad_value=1, ...) of pp/ops_text.py; labels are made canonical for zero-shot
    texts=Tokenize(clean="canonical", start=None, end=1, pad=1),
)
