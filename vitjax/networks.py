"""The shape of every network here, as frozen values that travel as JSON: a picture's tower, a text's, and both. Stdlib only."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar, Literal

from .values import Error, as_object, check_types, decode, unknown

Size = int | tuple[int, int]  # one side of a square, or (height, width)
Act = Literal["gelu", "gelu_tanh", "quick_gelu", "silu"]


def hw(size: Size) -> tuple[int, int]:
    """(height, width) of a size."""
    return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The switches in which stacks of Blocks differ, whether pictures or texts go in. Defaults: erf GELU, eps 1e-6."""

    act: Act = "gelu"
    eps: float = 1e-6  # of every LayerNorm
    qkv_bias: bool | Literal["qv"] = True  # "qv": query and value only (EVA)
    bias: bool = True  # of the attention's output and the MLP
    qk_norm: bool = False  # LayerNorm of queries and keys, per head
    attn_norm: bool = False  # LayerNorm before the attention's output product
    mlp_norm: bool = False  # LayerNorm before the MLP's second product
    gated: bool = False  # act(gate(x)) * up(x)
    # How published files hold tensors that are the same network either way:
    packed: bool = False  # gate and up as one
    qkv_fused: bool = True  # query, key and value as one
    norm_post: bool = False  # x + norm(f(x)) instead of x + f(norm(x))
    layer_scale: float | None = None  # initial value of a learned scale of each branch (CaiT, arXiv:2103.17239)
    drop_path: float = 0.0  # rate of the last block when training; the first has 0, linear between
    pool_act: Act | None = None  # of attention pooling's MLP; None: act
    pool_eps: float | None = None  # of attention pooling's norm; None: eps


@dataclass(frozen=True)
class ViTConfig(Blocks):
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
    # Queries and keys of patches are turned by their places (EVA-02, arXiv:2303.11331), which are scaled onto a grid of so many
    # patches down and across, whatever the image has; None: they are as they are
    rotary: bool = False
    rotary_grid: Size | None = None
    patch_bias: bool = True
    norm_pre: bool = False  # a norm before the first block (CLIP)
    # output
    # class token, mean of tokens, attention by a learned probe, or the first two side by side
    pool: Literal["token", "mean", "map", "token_mean"] = "token"
    pool_prefix: bool = False  # mean and map see class and register tokens too, not only patches
    norm: Literal["before", "after", "none"] = "before"  # the final norm, relative to pooling
    representation: int = 0  # width of a tanh layer between pooling and head (Google's pre_logits, HF's pooler); 0: none
    head_bias: bool = True
    distilled: bool = False  # a second head, on the first register; logits are the mean of both (DeiT, arXiv:2012.12877)

    kind: ClassVar[str] = "vit"
    causal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self, ("patch", "width", "depth", "heads", "mlp"), ("classes", "registers", "representation"))
        for name in "image", "rotary_grid":  # one spelling of a square
            if isinstance(size := getattr(self, name), tuple) and size[0] == size[1]:
                object.__setattr__(self, name, size[0])
        if min(self.grid) < 1:
            raise Error(f"image {self.image} is smaller than one patch of {self.patch}; give a larger image or a smaller patch")
        if (self.pool.startswith("token") or self.positions == "cls") and not self.cls:
            raise Error("pool='token' and positions='cls' need the class token: set cls=True, or others")
        if self.distilled and not (self.registers and self.pool == "token" and not self.representation):
            raise Error("distilled=True needs registers=1 and pool='token', without a representation: its heads see two tokens")
        if self.rotary and self.head_width % 4:
            raise Error(f"rotary=True needs heads whose width is a multiple of 4, not {self.head_width}: change width or heads")
        if self.rotary_grid is not None and (not self.rotary or min(hw(self.rotary_grid)) < 1):
            raise Error(f"rotary_grid {self.rotary_grid} must be of at least one patch a side, and is for rotary=True only")
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
class TextConfig(Blocks):
    """The shape of a text tower. Defaults are those of OpenAI's CLIP (arXiv:2103.00020) but for its activation."""

    context: int  # tokens of the longest text
    vocab: int  # how many ids there are
    width: int
    depth: int
    heads: int
    mlp: int
    classes: int  # width of the projection into the space that both towers share; 0: none, the output is the pooled features
    _: KW_ONLY
    eps: float = 1e-5
    causal: bool = True  # a token sees those before it only
    # The token that stands for the text: at the highest id, which is OpenAI's end of text; at the first id `eos`; the last one,
    # whatever it is. Or attention by a learned probe.
    pool: Literal["argmax", "eos", "last", "map"] = "argmax"
    eos: int | None = None  # the id that ends a text, for pool="eos"
    head_bias: bool = False  # of the projection

    kind: ClassVar[str] = "text"

    def __post_init__(self) -> None:
        _check(self, ("context", "vocab", "width", "depth", "heads", "mlp"), ("classes",))
        if (self.pool == "eos") != (self.eos is not None) or not 0 <= (self.eos or 0) < self.vocab:
            raise Error(f"pool='eos' needs eos, an id below {self.vocab}; leave it out for other ways of pooling")

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def features(self) -> int:
        """How many numbers are pooled from a text, and the head takes."""
        return self.width


@dataclass(frozen=True)
class CLIPConfig:
    """An image and a text tower whose outputs are compared (CLIP, arXiv:2103.00020; SigLIP, arXiv:2303.15343)."""

    image: ViTConfig
    text: TextConfig
    _: KW_ONLY
    sigmoid: bool = False  # each pair is judged by itself, with a learned bias (SigLIP); else each against the others

    kind: ClassVar[str] = "clip"

    def __post_init__(self) -> None:
        check_types(self)
        image, text = (tower.classes or tower.features for tower in (self.image, self.text))
        if image != text:
            raise Error(f"the image tower gives {image} numbers, the text tower {text}: both need the same, to be compared")

    @property
    def classes(self) -> int:
        """The width of the space that both towers share."""
        return self.text.classes or self.text.features


def _check(config: ViTConfig | TextConfig, sizes: tuple[str, ...], counts: tuple[str, ...]) -> None:
    """Raise Error unless the fields hold what they say, `sizes` at least 1 and `counts` at least 0, and heads fill the width."""
    check_types(config)
    for name in sizes:
        if getattr(config, name) < 1:
            raise Error(f"{name} must be at least 1, not {getattr(config, name)}")
    if min(getattr(config, name) for name in counts) < 0:
        raise Error(f"{', '.join(counts)} must not be negative")
    if min(config.eps, config.pool_eps or config.eps) <= 0 or not 0 <= config.drop_path < 1:
        raise Error("eps and pool_eps must be positive, drop_path in [0, 1)")
    if config.width % config.heads:
        raise Error(f"width {config.width} does not divide into {config.heads} heads: change one of them")


Config = ViTConfig | TextConfig | CLIPConfig
CONFIGS: dict[str, type[Config]] = {config.kind: config for config in (ViTConfig, TextConfig, CLIPConfig)}
TOWERS = {"image": ViTConfig, "text": TextConfig}  # a CLIP's, as its config and its parameters name them


def towers(config: Config) -> dict[str, ViTConfig | TextConfig]:
    """The stacks of blocks in a network, by name; one that is no pair has none."""
    return {name: getattr(config, name) for name in TOWERS} if isinstance(config, CLIPConfig) else {"": config}


def image_size(config: Config) -> Size:
    """The size of the pictures that go into a network; 1, where none do."""
    match config:
        case ViTConfig():
            return config.image
        case CLIPConfig():
            return config.image.image
        case TextConfig():
            return 1


def config_to_json(config: Config) -> dict[str, Any]:
    """A config as JSON, its sizes before its switches."""
    if isinstance(config, CLIPConfig):
        towers = {name: config_to_json(getattr(config, name)) for name in TOWERS}
        return {"kind": config.kind} | towers | {"sigmoid": config.sigmoid}
    ordered = sorted(fields(config), key=lambda f: bool(f.kw_only))
    return {"kind": config.kind} | {f.name: getattr(config, f.name) for f in ordered}


def config_from_json(data: object, where: str) -> Config:
    """The config that `config_to_json` wrote; fields left out take their defaults."""
    data = dict(as_object(data, where))
    kind = data.pop("kind", ViTConfig.kind)
    if kind not in CONFIGS:
        raise Error(f"{where}: {unknown('kind of network', kind, CONFIGS)}")
    if kind == CLIPConfig.kind:
        parts = {name: {"kind": other.kind} | as_object(data[name], where) for name, other in TOWERS.items() if name in data}
        data |= {name: config_from_json(part, f"{where}: {name}") for name, part in parts.items()}
    return decode(CONFIGS[kind], data, where)
