"""transformers' preprocessor_config.json to a Preprocess, and back: what the image processors in PROCESSORS do."""

from __future__ import annotations

import math
import re
from typing import Any

from vitjax.config import Error, Preprocess, Size, hw, unknown

from .files import Bundle
from .json_file import blame

HALF, CLIP = (0.5, 0.5, 0.5), ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
# What a processor does where its file is silent: image_processing_{vit,deit,bit,clip,siglip}.py of transformers 5.23
BIT = {
    "size": {"shortest_edge": 224},
    "crop_size": 224,
    "do_center_crop": True,
    "resample": 3,
    "image_mean": CLIP[0],
    "image_std": CLIP[1],
}
PROCESSORS: dict[str, dict[str, Any]] = {
    "ViT": {"size": 224, "do_center_crop": False, "resample": 2, "image_mean": HALF, "image_std": HALF},
    "DeiT": {"size": 256, "crop_size": 224, "do_center_crop": True, "resample": 3, "image_mean": HALF, "image_std": HALF},
    "Bit": BIT,
    "CLIP": BIT,
    "Siglip": {
        "size": {"height": 224, "width": 224}, "do_center_crop": False, "resample": 3, "image_mean": HALF, "image_std": HALF,
    },
}  # fmt: skip
RESAMPLE = {2: "bilinear", 3: "bicubic"}
ALWAYS = {"do_resize": True, "do_rescale": True, "do_pad": False}  # the others are refused
KNOWN = {"size", "crop_size", "do_center_crop", "resample", "do_normalize", "image_mean", "image_std", "rescale_factor"} | set(
    ALWAYS
)
SILENT = {
    "image_processor_type", "feature_extractor_type", "processor_class", "do_convert_rgb", "default_to_square", "pad_size",
    "data_format", "input_data_format", "return_tensors", "device", "disable_grouping", "_processor_class",
    "_valid_processor_keys",
}  # fmt: skip


def read(bundle: Bundle, processor: str, image: Size) -> Preprocess:
    """How pictures are made for a network that takes `image`: as the file says, or as its usual processor does."""
    # transformers 5 writes both processors of a CLIP into one file, and reads that before the other.
    data, file = (bundle.processor or {}).get("image_processor"), "processor_config.json"
    if data is None:
        data, file = bundle.preprocessor, "preprocessor_config.json"
    if data is None:
        return _preprocess(_usual(processor, *hw(image)), processor)
    with blame(bundle.path.parent / file):
        return _preprocess(data, processor)


def _usual(processor: str, height: int, width: int) -> dict[str, Any]:
    """The sizes of a processor's defaults, which are for 224 pixels, for a network of another size."""
    size = {"height": height, "width": width}
    if PROCESSORS[processor] is BIT:
        return {"size": {"shortest_edge": height}, "crop_size": size}
    larger = {side: pixels * 256 // 224 for side, pixels in size.items()}
    return {"size": larger, "crop_size": size} if processor == "DeiT" else {"size": size}


def _preprocess(data: dict[str, Any], processor: str) -> Preprocess:
    for key in data:
        if key not in KNOWN | SILENT:
            raise Error(f"{unknown('key', key, KNOWN)}; remove it if it means nothing for the pictures")
    named = data.get("image_processor_type") or data.get("feature_extractor_type")
    if named is not None:
        processor = re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "", named)
        if processor not in PROCESSORS:
            raise Error(f"image_processor_type {named!r} is not read: only those of {', '.join(PROCESSORS)}")
    data = PROCESSORS[processor] | {key: value for key, value in data.items() if value is not None}
    for key, value in ALWAYS.items():
        if data.get(key, value) is not value:
            raise Error(f"{key} {data[key]!r} is not supported: only {str(value).lower()}")
    if not math.isclose(data.get("rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-6):
        raise Error(f"rescale_factor {data['rescale_factor']!r} is not supported: only 1 / 255")
    if data["resample"] not in RESAMPLE:
        raise Error(f"resample {data['resample']!r} is not supported: only 2 (bilinear) and 3 (bicubic)")
    square = data.get("default_to_square", processor in ("ViT", "DeiT"))
    size, crop, fit = _sizes(data["size"], data.get("crop_size") if data["do_center_crop"] else None, square)
    mean, std = (
        ((0.0,) * 3, (1.0,) * 3) if data.get("do_normalize") is False else (_three(data["image_mean"]), _three(data["image_std"]))
    )
    return Preprocess(size, crop, fit, RESAMPLE[data["resample"]], mean, std, centre="down")  # type: ignore[arg-type]


def _three(value: Any) -> tuple[float, ...]:
    return tuple(map(float, [value] * 3 if isinstance(value, int | float) else value))


def _sizes(size: Any, crop: Any, square: bool) -> tuple[Size, float, str]:
    """(size of the network's pictures, share that the crop keeps, fit) of a resize and a crop or none."""
    if isinstance(size, int):
        size = {"height": size, "width": size} if square else {"shortest_edge": size}
    if isinstance(crop, int):
        crop = {"height": crop, "width": crop}
    match size, crop:
        case {"shortest_edge": int(edge), **rest}, {"height": int(height), "width": int(width)} if not rest and height == width:
            resized, fit = (edge, edge), "crop"
        case {"height": int(h), "width": int(w), **rest}, {"height": int(height), "width": int(width)} if not rest:
            resized, fit = (h, w), "squash"
        case {"height": int(height), "width": int(width), **rest}, None if not rest:
            return (height, width), 1.0, "squash"
        case _:
            raise Error(
                f"size {size!r} with crop_size {crop!r} is not supported: only a resize to height "
                "and width, or of the shortest_edge to a number and a square crop"
            )
    shares = [_share(have, want) for have, want in zip(resized, (height, width), strict=True)]
    whole = next(
        (s for s in shares if all(math.floor(want / s) == have for have, want in zip(resized, (height, width), strict=True))), 0
    )
    if not 0 < whole <= 1:
        raise Error(
            f"crop_size {crop!r} of a picture of {size!r} is not supported: it must keep one share, at most all, of both sides"
        )
    return (height, width), whole, fit


def _share(have: int, want: int) -> float:
    """want / have, so that dividing by it gives no less than `have`."""
    share = want / have
    return share if math.floor(want / share) == have else math.nextafter(share, 0)


def write(how: Preprocess, processor: str | None = None) -> dict[str, Any]:
    """The preprocessor_config.json that makes these pictures, for a processor, or the one that does no more than is needed.

    Where the crop's centre is between two pixels, theirs is at the lower one.
    """
    height, width = hw(how.size)
    resized = [math.floor(side / how.crop) for side in (height, width)]
    if how.fit == "border" or (how.fit == "crop" and height != width):
        raise Error(
            f"transformers has no image processor with fit={how.fit!r} for {height} x {width}; give the spec another preprocess"
        )
    name, crops = "Bit" if how.fit == "crop" else "ViT" if how.crop == 1 else "DeiT", how.fit == "crop" or how.crop != 1
    out: dict[str, Any] = {
        "image_processor_type": f"{processor or name}ImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": resized[0]} if name == "Bit" else dict(zip(("height", "width"), resized, strict=True)),
        "resample": {ours: theirs for theirs, ours in RESAMPLE.items()}[how.resample],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(how.mean),
        "image_std": list(how.std),
    }
    if processor is not None:
        out |= {"do_convert_rgb": True, "do_center_crop": crops}
    return out | ({"do_center_crop": True, "crop_size": {"height": height, "width": width}} if crops else {})
