"""What a network, its pictures and its weights' origin are, as frozen values that travel as JSON. Stdlib only."""

from __future__ import annotations

import difflib
import functools
import json
import types
import typing
from collections.abc import Iterable
from dataclasses import KW_ONLY, MISSING, asdict, dataclass, field, fields
from typing import Any, ClassVar, Literal

FORMAT = 1  # of spec.json; a newer one is refused
Size = int | tuple[int, int]  # one side of a square, or (height, width)
Act = Literal["gelu", "gelu_tanh", "quick_gelu", "silu"]


class Error(Exception):
    """What a user can cause and mend: says what is wrong, where, and the next step."""


def unknown(what: str, name: object, known: Iterable[str]) -> Error:
    """The error for a word we do not have, with the three closest that we do have."""
    close = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.3)
    return Error(f"unknown {what} {name!r}" + (f"; the closest are: {', '.join(close)}" if close else ""))


def hw(size: Size) -> tuple[int, int]:
    """(height, width) of a size."""
    return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True)
class ViTConfig:
    """The shape of a Vision Transformer: seven numbers, and the switches in which the families differ.

    Defaults are those of Dosovitskiy et al. 2020 (arXiv:2010.11929) as timm runs it: class token, erf GELU, eps 1e-6.
    """

    image: Size  # pixels: a side, or (height, width)
    patch: int  # pixels; a rest of the image that fills no patch is cut off, as a strided convolution does
    width: int
    depth: int
    heads: int
    mlp: int  # width of the hidden layer (of one of the two halves, if gated)
    classes: int = 1000  # 0: no head, the output is the pooled features
    _: KW_ONLY
    # tokens
    cls: bool = True  # a class token leads the sequence
    registers: int = 0  # register tokens follow it (Darcet et al. 2023, arXiv:2309.16588); DeiT's distillation token is one
    registers_first: bool = False  # they lead the sequence instead (birder)
    positions: Literal["all", "cls", "patches", "none"] = "all"  # which tokens have a learned one; "cls": class token and patches
    interpolation: Literal["cubic", "cubic-pytorch", "bilinear"] = "cubic"  # of positions for another image size: surgery.py
    patch_bias: bool = True
    norm_pre: bool = False  # a norm before the first block (CLIP)
    # blocks
    act: Act = "gelu"
    eps: float = 1e-6  # of every LayerNorm
    qkv_bias: bool | Literal["qv"] = True  # "qv": query and value only (EVA)
    bias: bool = True  # of the attention's output and the MLP
    qk_norm: bool = False  # LayerNorm of queries and keys, per head
    attn_norm: bool = False  # LayerNorm before the attention's output product
    mlp_norm: bool = False  # LayerNorm before the MLP's second product
    gated: bool = False  # act(gate(x)) * up(x)
    packed: bool = False  # published files hold gate and up as one tensor; the network is the same
    norm_post: bool = False  # x + norm(f(x)) instead of x + f(norm(x))
    layer_scale: float | None = None  # initial value of a learned scale of each branch (CaiT, arXiv:2103.17239)
    drop_path: float = 0.0  # rate of the last block when training; the first has 0, linear between
    # output
    # class token, mean of tokens, attention by a learned probe, or the first two side by side
    pool: Literal["token", "mean", "map", "token_mean"] = "token"
    pool_prefix: bool = False  # mean and map see class and register tokens too, not only patches
    pool_act: Act | None = None  # of attention pooling's MLP; None: act
    pool_eps: float | None = None  # of attention pooling's norm; None: eps
    norm: Literal["before", "after", "none"] = "before"  # the final norm, relative to pooling
    representation: int = 0  # width of a tanh layer between pooling and head (Google's pre_logits, HF's pooler); 0: none
    head_bias: bool = True
    distilled: bool = False  # a second head, on the first register; logits are the mean of both (DeiT, arXiv:2012.12877)

    kind: ClassVar[str] = "vit"

    def __post_init__(self) -> None:
        check_types(self)
        if isinstance(self.image, tuple) and self.image[0] == self.image[1]:
            object.__setattr__(self, "image", self.image[0])  # one spelling of a square
        for name in ("patch", "width", "depth", "heads", "mlp"):
            if getattr(self, name) < 1:
                raise Error(f"{name} must be at least 1, not {getattr(self, name)}")
        if min(self.classes, self.registers, self.representation) < 0:
            raise Error("classes, registers and representation must not be negative")
        if min(self.eps, self.pool_eps or self.eps) <= 0 or not 0 <= self.drop_path < 1:
            raise Error("eps and pool_eps must be positive, drop_path in [0, 1)")
        if min(self.grid) < 1:
            raise Error(f"image {self.image} is smaller than one patch of {self.patch}; give a larger image or a smaller patch")
        if self.width % self.heads:
            raise Error(f"width {self.width} does not divide into {self.heads} heads")
        if (self.pool.startswith("token") or self.positions == "cls") and not self.cls:
            raise Error("pool='token' and positions='cls' need the class token: set cls=True, or others")
        if self.distilled and not (self.registers and self.pool == "token" and not self.representation):
            raise Error("distilled=True needs registers=1 and pool='token', without a representation: its heads see two tokens")
        if not self.registers:  # one spelling of the same
            object.__setattr__(self, "positions", "all" if self.positions == "cls" else self.positions)
        if not (self.registers and self.cls):
            object.__setattr__(self, "registers_first", False)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        height, width = hw(self.image)
        return height // self.patch, width // self.patch

    @property
    def prefix(self) -> int:
        """How many tokens come before the patches."""
        return self.cls + self.registers

    @property
    def cls_at(self) -> int:
        """Where in the sequence the class token is."""
        return self.registers if self.registers_first else 0

    @property
    def registers_at(self) -> int:
        """Where in the sequence the registers begin."""
        return 0 if self.registers_first else int(self.cls)

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def features(self) -> int:
        """How many numbers `embed` gives for a picture, and the head takes."""
        return self.representation or self.width * (2 if self.pool == "token_mean" else 1)


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes a network's input; preprocess.py does it."""

    size: Size = 224  # pixels out: a side, or (height, width)
    crop: float = 0.875  # the share of the resized picture that the crop keeps
    fit: Literal["crop", "squash", "border"] = "crop"  # centre crop, both sides stretched, or padded to fit
    resample: Literal["bicubic", "bilinear"] = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of RGB in [0, 1]
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    centre: Literal["even", "down"] = "even"  # where a crop begins at a half pixel: at the even one (torchvision), or below (HF)

    def __post_init__(self) -> None:
        check_types(self)
        if isinstance(self.size, tuple) and self.size[0] == self.size[1]:
            object.__setattr__(self, "size", self.size[0])
        if min(hw(self.size)) < 1 or not 0 < self.crop <= min(hw(self.size)) or not min(self.std) > 0:
            raise Error(f"a picture needs a positive size, std and crop (a share, near 1): {self}")


@dataclass(frozen=True)
class Source:
    """Where weights came from, and which library's numbers are the reference for them."""

    dialect: str = ""  # whose spelling they were read in; "" for our own training
    origin: str = ""  # file, URL or hub repository
    sha256: str = ""  # of the file they were read from
    licence: str = ""
    reference: str = ""  # the library whose outputs these weights are held to
    vitjax: str = ""  # the version that wrote this

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True)
class Spec:
    """Everything about a checkpoint that is not an array."""

    name: str
    config: ViTConfig
    preprocess: Preprocess = field(default_factory=Preprocess)
    labels: tuple[str, ...] = ()  # of the classes, in order; () when they have no published names
    source: Source = field(default_factory=Source)

    def __post_init__(self) -> None:
        check_types(self)
        if self.labels and len(self.labels) != self.config.classes:
            raise Error(f"{self.name}: {len(self.labels)} labels for {self.config.classes} classes")


CONFIGS = {ViTConfig.kind: ViTConfig}


def config_to_json(config: ViTConfig) -> dict[str, Any]:
    return {"kind": config.kind} | asdict(config)


def config_from_json(data: object, where: str) -> ViTConfig:
    """The config that `config_to_json` wrote; fields left out take their defaults."""
    data = dict(_object(data, where))
    kind = data.pop("kind", ViTConfig.kind)
    if kind not in CONFIGS:
        raise Error(f"{where}: {unknown('kind of network', kind, CONFIGS)}")
    return decode(CONFIGS[kind], data, where)


def spec_to_json(spec: Spec) -> str:
    data = {"format": FORMAT} | asdict(spec) | {"config": config_to_json(spec.config)}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def spec_from_json(text: str, where: str) -> Spec:
    """The spec that `spec_to_json` wrote. Unknown fields and newer formats are errors that name `where`."""
    try:
        data = _object(json.loads(text), where)
    except ValueError as error:
        raise Error(f"{where} is not JSON: {error}") from error
    data = dict(data)
    if (version := data.pop("format", None)) != FORMAT:
        raise Error(f"{where} has format {version!r}; this vitjax reads format {FORMAT}: upgrade vitjax, or convert again")
    parts = {"preprocess": Preprocess, "source": Source}
    for key, cls in parts.items():
        if key in data:
            data[key] = decode(cls, _object(data[key], f"{where}: {key}"), f"{where}: {key}")
    if "config" in data:
        data["config"] = config_from_json(data["config"], f"{where}: config")
    return decode(Spec, data, where)


def _object(data: object, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Error(f"{where} must be a JSON object, not {type(data).__name__}")
    return data


def decode(cls: type, data: dict[str, Any], where: str) -> Any:
    """A dataclass from a file's object; what is unknown, missing or impossible is an Error that names `where`."""
    known = {f.name: f for f in fields(cls)}
    for key in data:
        if key not in known:
            raise Error(f"{where}: {unknown('field', key, known)}")
    required = [name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in required if name not in data]:
        raise Error(f"{where} does not say {', '.join(missing)}")
    try:
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})
    except Error as error:
        raise Error(f"{where}: {error}") from error


def check_types(value: Any) -> None:
    """Raise Error unless every field of a dataclass holds what its annotation says: JSON brings anything."""
    hints = _hints(type(value))
    for f in fields(value):
        if not _fits(got := getattr(value, f.name), hints[f.name]):
            raise Error(f"{type(value).__name__}.{f.name} must be {f.type}, not {got!r}")


_hints = functools.cache(typing.get_type_hints)


def _fits(value: object, hint: Any) -> bool:
    args = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Literal:
            return any(value is a or (type(value) is type(a) and value == a) for a in args)
        case types.UnionType | typing.Union:
            return any(_fits(value, a) for a in args)
        case _ if typing.get_origin(hint) is tuple:
            if not isinstance(value, tuple):
                return False
            each = [args[0]] * len(value) if args[-1] is ... else args
            return len(value) == len(each) and all(map(_fits, value, each))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is not int or not isinstance(value, bool))
