"""What is trained on what, and how: a TOML file onto a frozen Recipe, `key=value` on the command line above the file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ..config import Error, Size, check_types, decode, hw, unknown

RECIPES = Path(__file__).parent / "recipes"  # those that travel in the package


@dataclass(frozen=True)
class Recipe:
    """The keys of a recipe file. Two runs of one recipe, on the same devices with the same libraries, give the same bits."""

    data: str  # "digits", or a folder: of class folders, of ArrayRecord shards, or of a Hugging Face data set (data.py)
    model: str  # what vitjax.load takes: a name, a checkpoint folder, "hf:owner/repo"
    out: str  # the checkpoint folder that is written; beside it OUT.training has the state, the metrics and the curve
    _: KW_ONLY
    held_out: str = ""  # as data; "": what the data set holds out itself (DATA/val beside DATA/train, or its own part)
    licence: str = ""  # of the resulting weights
    seed: int = 0  # of the head, the order, the augmentation and drop path

    # How long, in batches over all devices: `steps`, or `epochs`. `warmup` is in the same unit.
    batch: int
    steps: int = 0
    epochs: float = 0.0
    warmup: float = 0.0  # in which the learning rate rises from zero

    # The network
    pretrained: bool = True  # or an architecture with random parameters
    tokenizer: str = ""  # the vocabulary of a CLIP that comes without, as vitjax.load takes it
    image: Size = 0  # pixels, or [height, width]; 0: as the model says
    crop_pct: float = 0.0  # the share of a resized picture that evaluation keeps; 0: as the model says
    pool: Literal["", "token", "mean"] = ""  # what a new head sees; mean: of the patches, the norm behind it (BEiT, EVA)
    head_scale: float = 1.0  # of a new head's random kernel; 0: it begins with zeros
    drop_path: float = 0.0  # rate of the last block (ViTConfig.drop_path)
    dtype: Literal["float32", "bfloat16"] = "bfloat16"  # of the computation; parameters, second moments and loss are float32
    remat: Literal["none", "dots", "blocks"] = "none"  # what is computed again backwards: nothing, all but products, all
    attention: Literal["auto", "xla", "cudnn"] = "auto"  # cuDNN's flash attention where it can run; XLA's; or cuDNN's or an error
    train: tuple[str, ...] = ("*",)  # which parameters learn, by path ("head/*", "blocks/norm?/*"); the others stay
    lora_rank: int = 0  # instead of each kernel that `lora` names, so many columns and rows that are added (arXiv:2106.09685)
    lora_alpha: float = 0.0  # what they are scaled by, times the rank; 0: the rank
    lora: tuple[str, ...] = ("*blocks/attn/query/kernel", "*blocks/attn/value/kernel")

    # What is seen: pictures on the host (pipeline.py), batches on the device (augment.py)
    workers: int = 0  # processes that decode pictures, on each host; 0: threads of this one
    crop: tuple[float, float] = (0.08, 1.0)  # the share of a picture that a random crop keeps; (0, 0): fitted as in evaluation
    ratio: tuple[float, float] = (0.75, 4 / 3)  # width to height of a random crop
    flip: float = 0.5  # the share of pictures that are mirrored
    randaugment: str = ""  # in timm's words: "rand-m9-mstd0.5-inc1"
    erase: float = 0.0  # the share of pictures of which a random rectangle becomes noise (arXiv:1708.04896)
    mixup: float = 0.0  # alpha of Beta(alpha, alpha), the share of one picture in a mixture (arXiv:1710.09412); 0: none
    cutmix: float = 0.0  # the same for the area of a rectangle (arXiv:1905.04899); with both, each batch has one or the other
    rotate: float = 0.0  # at most so many degrees, either way
    zoom: float = 0.0  # at most by this share, in or out
    shift: float = 0.0  # at most by this share of each side

    # What is minimised. contrastive: of a CLIP, pictures and their captions against each other
    loss: Literal["softmax", "sigmoid", "contrastive"] = "softmax"
    label_smoothing: float = 0.0

    optimizer: Literal["adamw", "sgd", "lamb", "lion"] = "adamw"
    learning_rate: float  # at the end of the warm-up; from there a cosine goes to the last one
    last_learning_rate: float = 0.0
    beta1: float = 0.9  # the momentum of sgd
    beta2: float = 0.999
    epsilon: float = 1e-8
    momentum_dtype: Literal["float32", "bfloat16"] = "float32"  # of the first moment
    weight_decay: float = 0.0  # of kernels and embeddings only
    layer_decay: float = 1.0  # the learning rate of a block, as a share of the next one's (BEiT, arXiv:2106.08254)
    clip: float = 0.0  # the norm that all gradients together are cut to; 0: they are not
    accumulate: int = 1  # a batch goes through in so many parts
    ema: float = 0.0  # decay of a running mean of the parameters, which then is the result; 0: none
    bad_steps: int = 20  # steps in a row with gradients that are not finite, which are left out, until the run stops

    # Over devices
    fsdp: bool = True  # parameters are split over the devices that split the batch, instead of copied
    tensor: int = 1  # so many devices split heads and hidden units among them

    # What is said and kept; in steps
    report: int = 100  # between two lines about how it goes
    evaluate: int = 0  # between evaluations on what is held out; 0: an epoch
    save: int = 0  # between saves of the state; 0: as evaluate
    keep: int = 3  # how many of the last states are kept; the best one is, too

    def __post_init__(self) -> None:
        check_types(self)
        for field in fields(self):  # a file may say 1 where 1.0 is meant
            value = getattr(self, field.name)
            if field.type == "float":
                object.__setattr__(self, field.name, float(value))
            elif field.type == "tuple[float, float]":
                object.__setattr__(self, field.name, tuple(map(float, value)))
        for name, good, wish in _limits(self):
            if not good:
                raise Error(f"{name} = {getattr(self, name)!r}: {wish}")


def _limits(r: Recipe) -> list[tuple[str, bool, str]]:
    """What a key must hold: (key, whether it does, what to write instead)."""
    positive = ("batch", "learning_rate", "report", "accumulate", "tensor", "keep", "layer_decay", "bad_steps")
    negative = ("seed", "steps", "epochs", "warmup", "lora_rank", "lora_alpha", "workers", "mixup", "cutmix", "rotate")
    negative += ("evaluate", "save", "head_scale", "weight_decay", "last_learning_rate", "clip", "epsilon")
    shares = ("drop_path", "erase", "zoom", "shift", "label_smoothing", "beta1", "beta2", "ema")
    return [
        *((name, getattr(r, name) > 0, "must be positive") for name in positive),
        *((name, getattr(r, name) >= 0, "must not be negative") for name in negative),
        *((name, 0 <= getattr(r, name) < 1, "must be in [0, 1)") for name in shares),
        ("layer_decay", r.layer_decay <= 1, "must be in (0, 1]"),
        ("crop_pct", 0 <= r.crop_pct <= 1, "must be in [0, 1]"),
        ("pool", not r.pool or r.loss != "contrastive", "is for a classifier: a CLIP's towers pool as they do"),
        ("flip", 0 <= r.flip <= 1, "must be in [0, 1]"),
        ("image", min(hw(r.image)) >= 0, "must not be negative"),
        ("steps", bool(r.steps) != bool(r.epochs), "say how long: either steps or epochs"),
        ("warmup", r.warmup < max(r.steps, r.epochs), "must be shorter than the run"),
        ("accumulate", r.batch % r.accumulate == 0, f"must divide batch = {r.batch}"),
        ("accumulate", r.accumulate == 1 or r.loss != "contrastive", "must be 1: each picture is compared with all of the batch"),
        ("crop", r.crop == (0, 0) or 0 < r.crop[0] <= r.crop[1] <= 1, "must be two shares, the smaller first, or [0, 0]"),
        ("ratio", 0 < r.ratio[0] <= r.ratio[1], "must be two positive numbers, the smaller first"),
        ("mixup", r.loss != "contrastive" or not (r.mixup or r.cutmix), "captions cannot be mixed: leave out mixup and cutmix"),
        ("train", bool(r.train), 'must name some parameters: "*" is all of them'),
        ("train", not r.lora_rank or "*" not in r.train, 'must leave what lora names as it is: "head/*"'),
    ]


def read(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe of a TOML file, or of a name in the package, with `key=value` overrides."""
    path = Path(name)
    if not path.is_file():
        packaged = {file.stem: file for file in sorted(RECIPES.glob("*.toml"))}
        if name not in packaged:
            raise Error(f"{unknown('recipe', name, packaged)}; give one of {', '.join(packaged)} or a TOML file")
        path = packaged[name]
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Error(f"{path} is not a recipe: {error}. Write TOML, as in those of the package") from error
    said = dict(map(_override, overrides))
    if {"steps", "epochs"} & set(said):  # in another unit than the file's
        data = {key: value for key, value in data.items() if key not in ("steps", "epochs", "warmup")}
    return decode(Recipe, data | said, str(path))


def _override(text: str) -> tuple[str, Any]:
    """("steps", 10) of "steps=10". The value is as in TOML, where quotes around a string may be left out."""
    key, equals, value = text.partition("=")
    if not equals:
        raise Error(f"{text!r} is not an override; write key=value")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value
