"""The dialect of Google's own code: what vision_transformer (AugReg's files too) and big_vision call their tensors.

vision_transformer (vit_jax/models_vit.py) gives every token a position, the class token too; its published files keep the
counters of pre-Linen flax: MlpBlock_3. big_vision (models/vit.py) gives positions to the patches and then puts the class
token in front, if there is one. A network of ours with a class token is spelt by where its positions are; one without is
spelt as by big_vision. Both run the tanh GELU and an eps of 1e-6, whatever other libraries make of the same weights.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import partial

import numpy as np

from vitjax.config import Error, Preprocess, Spec, ViTConfig

from .dialect import Dialect
from .files import Bundle
from .mapping import Rule
from .stored import Flat, Made, Stored, Tensor

# What of a network neither library has; these are the values that they run.
WITHOUT = {
    "registers": 0, "patch_bias": True, "norm_pre": False, "qkv_bias": True, "bias": True, "qk_norm": False, "attn_norm": False,
    "mlp_norm": False, "gated": False, "norm_post": False, "layer_scale": None, "norm": "before", "head_bias": True,
    "distilled": False,
}  # fmt: skip

OLD = "MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3"  # the modules of a block, counted by pre-Linen flax
NEW = "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"
INLINED = "probe", "MultiHeadDotProductAttention_0/", "LayerNorm_0/", "MlpBlock_0/"  # MAPHead_0's, before it was a module
STACK = "Transformer/encoderblock/"  # all blocks in one: big_vision's scan=True

TREES = "", "params/", "opt/target/", "img/", "params/img/", "opt/target/img/"  # where the parameters begin
ANCHORS = "embedding/kernel", "Transformer/encoder_norm/scale"  # one of which is there, even if the other was lost
TRAINING = r"(opt/(?!target/)|chrono/).*"  # an optimizer and its clock, which big_vision saves beside the parameters


def rules(cfg: ViTConfig) -> list[Rule]:
    """The tensors of a network, in the spelling of the library that has it."""
    _check(cfg)
    first = cfg.cls and cfg.positions == "all"
    attention, norm2, mlp = OLD if first else NEW
    block = "Transformer/encoderblock_{i}"
    out = _dense("patch", "embedding", "h w c o")
    out += [Rule("cls", "cls", "1 1 c -> c")] if cfg.cls else []
    out += [Rule("positions", "Transformer/posembed_input/pos_embedding" if first else "pos_embedding", "1 n c -> n c")]
    out += _norm("blocks/norm1", f"{block}/LayerNorm_0") + _attention("blocks/attn", f"{block}/{attention}")
    out += _norm("blocks/norm2", f"{block}/{norm2}") + _mlp("blocks/mlp", f"{block}/{mlp}")
    out += _norm("norm", "Transformer/encoder_norm")
    if cfg.pool == "map":
        out += [Rule("pool/probe", "MAPHead_0/probe", "1 1 c -> c"), *_attention("pool/attn", f"MAPHead_0/{NEW[0]}")]
        out += _norm("pool/norm", "MAPHead_0/LayerNorm_0") + _mlp("pool/mlp", f"MAPHead_0/{NEW[2]}")
    out += _dense("pre_logits", "pre_logits") if cfg.representation else []
    out += _dense("head", "head") if cfg.classes else []
    return out


def _check(cfg: ViTConfig) -> None:
    """Raise Error for a network that neither library has."""
    said = [key for key, value in WITHOUT.items() if getattr(cfg, key) != value]
    said += ["cls", "pool"] if cfg.pool not in (("token",) if cfg.cls else ("mean", "map")) else []
    said += ["positions"] if cfg.positions not in ("all", "patches") else []
    if cfg.pool == "map":
        said += [key for key, used in (("pool_act", cfg.act), ("pool_eps", cfg.eps)) if getattr(cfg, key) not in (None, used)]
    if said:
        listed = ", ".join(f"{key}={getattr(cfg, key)!r}" for key in said)
        raise Error(f"Google's Vision Transformers cannot be such a network: {listed}; export it in its own dialect")


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


def recognise(tensors: Flat) -> bool:
    return any(tree + anchor in tensors for tree in TREES for anchor in ANCHORS)


def _tree(tensors: Flat) -> str:
    """What stands before the name of every parameter."""
    return next((tree for tree in TREES if any(tree + anchor in tensors for anchor in ANCHORS)), "")


def refuse(bundle: Bundle) -> Spec | None:
    """Nothing in such a file says what network it holds; but some say that it is none of ours, or more than one."""
    path, tree = bundle.path, _tree(bundle.tensors)
    names = [name for name in bundle.tensors if not re.fullmatch(TRAINING, name)]
    if others := [name for name in names if not name.startswith(tree)]:
        if tree.endswith("img/"):
            raise Error(
                f"{path} holds two towers: choose that of the images with --key img (key='img'); {others[0]} is not of it"
            )
        raise Error(
            f"{path}: {len(others)} of {len(names)} names do not begin with {tree!r}, such as {others[0]}: two sets of weights "
            f"are mixed; choose one with --key {tree.strip('/')}"
        )
    if hybrid := next((name for name in names if re.match(rf"{tree}(conv_root|gn_root|block\d+/unit)", name)), None):
        raise Error(f"{path} is a hybrid, a ResNet before a Transformer ({hybrid}); vitjax has Transformers alone")
    block = rf"{tree}Transformer/encoderblock"
    for spellings in (f"{block}/", f"{block}_"), (rf"{block}\w*/({'|'.join(OLD)})/", rf"{block}\w*/({'|'.join(NEW)})/"):
        one, other = (next((name for name in names if re.match(spelling, name)), None) for spelling in spellings)
        if one and other:
            raise Error(f"{path} mixes two spellings of one network, {one} and {other}: save it again in one of them")
    return None


def reading(row: ViTConfig, tensors: Flat) -> ViTConfig:
    """A row as Google's code runs it, with what only the tensors say: where positions are, and how a plain ViT is pooled."""
    row = replace(row, act="gelu_tanh", eps=1e-6, interpolation="bilinear")
    tree = _tree(tensors)
    names = {_newest(name.removeprefix(tree)): tensor.shape for name, tensor in tensors.items()}
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


def respell(tensors: Flat, cfg: ViTConfig) -> Flat:
    """Prefixes, stacked blocks and older names undone, as fix_old_checkpoints of big_vision's models/vit.py does."""
    tree = _tree(tensors)
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found |= _unstacked(name.removeprefix(tree), tensor, cfg.depth)
    spelt = {_newest(rule.theirs): rule.theirs for rule in rules(cfg)}
    wanted = {new.replace("{i}", str(i)): name.replace("{i}", str(i)) for new, name in spelt.items() for i in range(cfg.depth)}
    out: dict[str, Tensor] = {}
    for name, tensor in found.items():
        ours = wanted.get(_newest(name), name)
        out[name if ours in found or ours in out else ours] = tensor  # a second spelling of the same is left, as unexpected
    return _summed(out, cfg) if cfg.cls and cfg.positions == "patches" else out


def _newest(name: str) -> str:
    """A name of any version in big_vision's spelling of today."""
    name = re.sub(r"^Transformer/(posembed_input/)?pos_embedding$", "pos_embedding", name)
    name = f"MAPHead_0/{name}" if name.startswith(INLINED) else name
    for old, new in zip(OLD, NEW, strict=True):
        name = name.replace(f"/{old}/", f"/{new}/")
    return name


def _unstacked(name: str, tensor: Tensor, depth: int) -> dict[str, Tensor]:
    """One tensor for each block, where one holds those of all."""
    if not name.startswith(STACK) or tensor.shape[:1] != (depth,):  # another depth: left as it is, to be reported
        return {name: tensor}
    names = [f"{STACK[:-1]}_{i}/{name.removeprefix(STACK)}" for i in range(depth)]
    shape, dtype = tensor.shape[1:], tensor.dtype
    if type(tensor) is Stored and tensor.strides is None:
        size = math.prod(shape) * dtype.itemsize
        return {new: replace(tensor, offset=tensor.offset + i * size, shape=shape) for i, new in enumerate(names)}
    stack = _Stack(tensor)
    return {new: Made(shape, dtype, partial(stack.layer, i)) for i, new in enumerate(names)}


def _summed(tensors: dict[str, Tensor], cfg: ViTConfig) -> dict[str, Tensor]:
    """An older file's position of the class token added to the token itself: there only their sum is used."""
    cls, positions, patches = tensors.get("cls"), tensors.get("pos_embedding"), math.prod(cfg.grid)
    if cls is None or positions is None or (cls.shape, positions.shape) != ((1, 1, cfg.width), (1, 1 + patches, cfg.width)):
        return tensors
    token = Made(cls.shape, cls.dtype, lambda: np.asarray(cls) + np.asarray(positions)[:, :1].astype(cls.dtype))
    others = Made((1, patches, cfg.width), positions.dtype, lambda: np.asarray(positions)[:, 1:])
    return tensors | {"cls": token, "pos_embedding": others}


class _Stack:
    """A deflated tensor of all blocks, read once for all of its layers: kept from the first until the last was asked for."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.array: np.ndarray | None = None

    def layer(self, i: int) -> np.ndarray:
        array = np.asarray(self.tensor) if self.array is None else self.array
        self.array = None if i == len(array) - 1 else array
        return array[i]


GOOGLE = Dialect(
    name="google",
    reference="google-research/vision_transformer c6de1e5, google-research/big_vision 0127fb6",
    rules=rules,
    recognise=recognise,
    read_settings=refuse,
    reading=reading,
    respell=respell,
    write_metadata=lambda spec: {"format": "flax"},
    ignore=(TRAINING,),
    pictures=Preprocess(fit="squash", crop=1.0, resample="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
)
