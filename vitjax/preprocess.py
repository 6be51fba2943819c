"""A picture becomes a network's input, bit for bit as timm's evaluation transform makes it. NumPy and Pillow only.

The reference is timm 1.0.31: `transforms_imagenet_eval` in data/transforms_factory.py, and the torchvision transforms that
it is made of, on pictures opened as timm's dataset opens them: `Image.open(file).convert("RGB")`.
"""

from __future__ import annotations

import io
import math
import os
import stat
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from .config import Error, Preprocess, hw

Picture = Image.Image | str | os.PathLike[str] | np.ndarray  # arrays: uint8, (H, W, 3) or grey (H, W)
Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float32]]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")  # Pillow's other readers are where its security bugs are found
MAX_BYTES = 64 * 2**20  # of a file
MAX_SIDE = 20_000
MAX_PIXELS = 50_000_000  # of a file's picture, and of any picture once resized

_WARNINGS = threading.Lock()  # the filters of `warnings` belong to the process, and data loaders have threads


def preprocess(images: Picture | Sequence[Picture], how: Preprocess) -> Floats:
    """One picture, a list of them or a (B, H, W, 3) uint8 array, as the (B, H, W, 3) float32 that a network takes."""
    if isinstance(images, str) or not isinstance(images, Sequence):
        images = list(images) if isinstance(images, np.ndarray) and images.ndim == 4 else [images]
    if not images:
        raise Error("there are no pictures to preprocess; give at least one")
    return normalize(np.stack([fit_image(open_image(image), how) for image in images]), how)


def open_image(source: Picture) -> Image.Image:
    """A picture, from a path, PIL image or uint8 array, as a PIL image of mode RGB.

    A file is recognised by its content, whatever its name, and must be whole. These are the results;
    those of 16-bit grey, F and LAB are not the reference's, which gives clipped or meaningless pixels:

    - RGB, L, P, 1-bit, CMYK, YCbCr, HSV: Pillow's conversion; CMYK naively, without its profile
    - alpha or a transparent colour (LA, PA, RGBA, P): dropped; the colours hidden beneath it show
    - 16-bit grey (I;16, and I within 16 bits): the high byte, as Pillow does to 16-bit colour; to grey it would clip
    - 16-bit colour: the high byte
    - F and LAB: refused; the range of F is not known, and LAB is not a photograph's mode
    - EXIF orientation, colour profiles: ignored, even if broken
    - animations: the first frame

    The limits on size hold for files; a picture that is already open has passed its owner's.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        image, name = source, getattr(source, "filename", "") or "the picture"
    elif isinstance(source, str | os.PathLike):
        image, name = header(read_bytes(source), str(source)), str(source)
    else:
        raise Error(f"a picture must be a PIL image, a path or a uint8 array, not {type(source).__name__}")
    rgb = to_rgb(image, name)
    return rgb.copy() if rgb is image else rgb  # a picture by itself, not the caller's own, nor one that is still a file


def fit_image(image: Image.Image, how: Preprocess) -> Pixels:
    """An RGB picture resized, then cropped or padded at its centre: the uint8 (H, W, 3) before normalisation."""
    height, width = hw(how.size)
    image = image.resize(_resized(image.size, how), Image.Resampling[how.resample.upper()])
    fill = tuple(round(255 * mean) for mean in how.mean) if how.fit == "border" else (0, 0, 0)
    canvas = Image.new("RGB", (width, height), fill)
    canvas.paste(image, (_offset(image.width, width, how.centre), _offset(image.height, height, how.centre)))
    return np.array(canvas)


def normalize(pixels: Pixels, how: Preprocess) -> Floats:
    """uint8 (..., 3) as float32, in the reference's order: x / 255, minus mean, over std, each rounded to float32."""
    x = np.divide(pixels, 255, dtype=np.float32)
    x -= np.asarray(how.mean, np.float32)
    x /= np.asarray(how.std, np.float32)
    return x


def _resized(size: tuple[int, int], how: Preprocess) -> tuple[int, int]:
    """The (width, height) that a (width, height) is resized to. What rounds and what truncates is the reference's."""
    height, width = (math.floor(side / how.crop) for side in hw(how.size))
    if how.fit == "squash":
        resized = width, height
    elif how.fit == "crop" and width == height:  # torchvision's Resize: the long side truncated
        resized = int(width * size[0] / min(size)), int(width * size[1] / min(size))
    else:  # timm's ResizeKeepRatio: both sides rounded
        ratios = size[0] / width, size[1] / height
        ratio = max(ratios) if how.fit == "border" else min(ratios)
        resized = round(size[0] / ratio), round(size[1] / ratio)
    if min(resized) < 1 or math.prod(resized) > MAX_PIXELS:
        (w, h), (new_w, new_h) = size, resized
        raise Error(f"a picture of {w} x {h} pixels would be resized to {new_w} x {new_h}; give one that is less narrow")
    return resized


def _offset(have: int, want: int, centre: str) -> int:
    """Where `have` pixels begin on a line of `want`: torchvision's center_crop rounds half to even, its padding (and HF) down."""
    if have <= want:
        return (want - have) // 2
    return -round((have - want) / 2) if centre == "even" else -((have - want) // 2)


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim < 2 or array.shape[2:] not in ((), (3,)) or not array.size:
        expected = "uint8 (H, W, 3), or (H, W) for grey; floats in [0, 1]: (x * 255).round().astype('uint8')"
        raise Error(f"a picture cannot be an array of {array.dtype} {array.shape}; give {expected}")
    return Image.fromarray(array).convert("RGB")


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """A picture decoded, as `open_image` says; errors call it by its name."""
    if image.mode in ("F", "LAB"):
        raise Error(f"{name} has mode {image.mode}, which has no defined RGB; convert it first")
    if 0 in image.size:
        raise Error(f"{name} has no pixels: it is {image.width} x {image.height}; leave it out")
    try:
        if image.mode.startswith("I"):
            return Image.fromarray(_high_byte(np.asarray(image))).convert("RGB")
        if image.mode == "RGB":  # as it is: converting would copy it
            image.load()
            return image
        if image.mode == "P":  # by way of RGBA, or Pillow warns about the transparency that we drop
            image = image.convert("RGBA")
        return image.convert("RGB")
    except Exception as error:  # Pillow decodes here; a broken file may raise nearly anything
        raise Error(f"{name} cannot become RGB: {error}; fetch it again, or convert it first") from error


def _high_byte(grey: np.ndarray) -> Pixels:
    if grey.min() < 0 or grey.max() > 0xFFFF:
        raise ValueError("its 32-bit values exceed 16 bits")
    return (grey >> 8).astype(np.uint8)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """What is in a file that may hold a picture, if it is one and of a size that pictures have."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # before opening: a FIFO would block, a device may have no end
            raise Error(f"{path} is not a file; give the path of a picture")
        if not 0 < status.st_size <= MAX_BYTES:
            raise Error(f"{path} has {status.st_size} bytes, not 1 to {MAX_BYTES}; fetch it again, or shrink it")
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise Error(f"cannot read a picture: {error}; check the path") from error


def header(data: bytes, name: str) -> Image.Image:
    """The picture in a file, not yet decoded: everything that its size and header can tell is checked first."""
    try:
        image = _opened(data)
        if image.format == "PNG":  # decoding skips the checksums
            image.verify()
            image = _opened(data)  # a verified one cannot be used any more
    except UnidentifiedImageError as error:
        kinds = ", ".join(FORMATS)
        raise Error(f"{name} is damaged or none of {kinds}: it begins with {data[:16]!r}; save it as one of these") from error
    except Exception as error:  # from SyntaxError to DecompressionBombError
        raise Error(f"{name} cannot be opened: {error}; fetch it again, or shrink it") from error
    if max(image.size) > MAX_SIDE or math.prod(image.size) > MAX_PIXELS:
        limits = f"at most {MAX_SIDE} a side and {MAX_PIXELS} in all"
        raise Error(f"{name} is {image.width} x {image.height} pixels, {limits} are read; shrink it, or pass it as a PIL image")
    return image


def _opened(data: bytes) -> Image.Image:
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata, which we do not use, and sizes, which we check
        return Image.open(io.BytesIO(data), formats=FORMATS)
