"""What a checkpoint is but for its arrays: its network, how its pictures and texts are made, its origin. Stdlib only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from .networks import (
    TOWERS,
    Act,
    Blocks,
    CLIPConfig,
    Config,
    Size,
    TextConfig,
    ViTConfig,
    config_from_json,
    config_to_json,
    hw,
    image_size,
)  # fmt: skip
from .values import Error, as_object, check_types, decode, unknown

__all__ = [  # the networks' configs and the values' Error are found here, too
    "TOWERS", "Act", "Blocks", "CLIPConfig", "Config", "Error", "Preprocess", "Size", "Source", "Spec", "TextConfig", "Tokenize",
    "ViTConfig", "check_types", "config_from_json", "config_to_json", "decode", "hw", "image_size",
    "spec_from_json", "spec_to_json", "tower",
    "unknown",
]  # fmt: skip

FORMAT = 1  # of spec.json; a newer one is refused


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
class Tokenize:
    """How a text becomes a network's ids; tokenizer.py does it, with the vocabulary that is beside the parameters.

    Defaults are those of OpenAI's CLIP (clip/simple_tokenizer.py, clip/clip.py).
    """

    # What is done to a text first. openai: ftfy, HTML entities twice, runs of white space, lower case (open_clip, too).
    # huggingface: NFC, runs of white space, lower case. canonical: no punctuation, lower case (SigLIP). lower: that (SigLIP 2).
    # open_clip, with the vocabularies of others: whitespace is openai's but for the case, repaired is canonical after ftfy.
    clean: Literal["openai", "huggingface", "canonical", "lower", "whitespace", "repaired"] = "openai"
    start: int | None = 49406  # the id that comes first; None: none does
    end: int = 49407  # the id that comes last, of a text that is cut off, too
    pad: int = 0  # the id that fills the rest

    def __post_init__(self) -> None:
        check_types(self)
        if min(self.start or 0, self.end, self.pad) < 0:
            raise Error(f"ids must not be negative: {self}")


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
    """Everything about a checkpoint that is not an array: what its spec.json holds."""

    name: str
    config: Config
    preprocess: Preprocess = field(default_factory=Preprocess)
    labels: tuple[str, ...] = ()  # of the classes, in order; () when they have no published names
    source: Source = field(default_factory=Source)
    tokenize: Tokenize | None = None  # where texts go in

    def __post_init__(self) -> None:
        check_types(self)
        if self.labels and not isinstance(self.config, ViTConfig):
            raise Error(f"{self.name}: {self.config.kind} has no classes, so it has no labels: leave labels out")
        if self.labels and len(self.labels) != self.config.classes:
            raise Error(f"{self.name}: {len(self.labels)} labels for {self.config.classes} classes: give one for each, or none")

    @property
    def vit(self) -> ViTConfig:
        """The config of a network that takes pictures and nothing else, which is what most libraries have."""
        if not isinstance(self.config, ViTConfig):
            take = "; take its image tower (tower='image', --tower image)" if isinstance(self.config, CLIPConfig) else ""
            raise Error(f"{self.name} is no image network by itself: it takes texts{take}")
        return self.config


def tower(spec: Spec, name: str) -> Spec:
    """The spec of one of a CLIP's two towers, by itself."""
    if name not in TOWERS:
        raise unknown("tower", name, TOWERS)
    if not isinstance(spec.config, CLIPConfig):
        raise Error(f"{spec.name} is one network, not two towers: leave out the tower")
    config = spec.config.image if name == "image" else spec.config.text
    return replace(spec, config=config, tokenize=spec.tokenize if name == "text" else None)


def spec_to_json(spec: Spec) -> str:
    data = {"format": FORMAT} | asdict(spec) | {"config": config_to_json(spec.config)}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def spec_from_json(text: str, where: str) -> Spec:
    """The spec that `spec_to_json` wrote. Unknown fields and newer formats are errors that name `where`."""
    try:
        data = as_object(json.loads(text), where)
    except ValueError as error:
        raise Error(f"{where} is not JSON: {error}. Mend it, or convert again") from error
    data = dict(data)
    if (version := data.pop("format", None)) != FORMAT:
        raise Error(f"{where} has format {version!r}; this vitjax reads format {FORMAT}: upgrade vitjax, or convert again")
    parts = {"preprocess": Preprocess, "source": Source, "tokenize": Tokenize}
    for key, cls in parts.items():
        if data.get(key) is not None:
            data[key] = decode(cls, as_object(data[key], f"{where}: {key}"), f"{where}: {key}")
    if "config" in data:
        data["config"] = config_from_json(data["config"], f"{where}: config")
    return decode(Spec, data, where)
