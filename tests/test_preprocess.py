"""Pictures: the numbers of timm's transform, a defined result for every kind, and a refusal for everything else."""

import importlib.util
import io
import os
import struct
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vitjax.config import Error, Preprocess, hw
from vitjax.preprocess import MAX_BYTES, fit_image, normalize, open_image, preprocess

pytestmark = pytest.mark.filterwarnings("error")  # nothing that Pillow warns about may reach a user

HALF, CLIP = (0.5, 0.5, 0.5), (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# fmt: off
CASES = {  # photographs that ship with scikit-learn and scikit-image; tests/reference/make_preprocess.py gives timm's numbers
    "crop_875":        ("china.jpg",     Preprocess(40)),
    "crop_90":         ("flower.jpg",    Preprocess(40, 0.9, mean=HALF, std=HALF)),
    "crop_95":         ("rocket.jpg",    Preprocess(41, 0.95)),
    "crop_100":        ("coffee.png",    Preprocess(40, 1.0, mean=CLIP, std=CLIP_STD)),
    "tall":            ("cell.png",      Preprocess(37, 0.9, resample="bilinear")),
    "bilinear":        ("flower.jpg",    Preprocess(40, 0.875, resample="bilinear")),
    "squash":          ("china.jpg",     Preprocess(40, 1.0, "squash", "bilinear", HALF, HALF)),
    "squash_crop":     ("rocket.jpg",    Preprocess(39, 0.9, "squash")),
    "border":          ("coffee.png",    Preprocess(41, 1.0, "border", mean=CLIP, std=CLIP_STD)),
    "border_crop":     ("china.jpg",     Preprocess(40, 0.8, "border")),
    "wide":            ("chelsea.png",   Preprocess((24, 52), 0.95)),
    "narrow":          ("astronaut.png", Preprocess((52, 24), 0.875, resample="bilinear")),
    "wide_squash":     ("astronaut.png", Preprocess((24, 52), 0.9, "squash")),
    "wide_border":     ("chelsea.png",   Preprocess((24, 52), 0.9, "border")),
    "transparent":     ("logo.png",      Preprocess(40)),
    "upscaled":        ("no_time_for_that_tiny.gif", Preprocess(48)),
    "upscaled_border": ("no_time_for_that_tiny.gif", Preprocess(48, 1.0, "border", "bilinear")),
}
# fmt: on


def photograph(name: str) -> Path:
    for package, folder in ("sklearn", "datasets/images"), ("skimage", "data"):
        spec = importlib.util.find_spec(package)
        assert spec and spec.submodule_search_locations, f"install {package}: pip install -e .[dev]"
        if (path := Path(spec.submodule_search_locations[0], folder, name)).exists():
            return path
    raise FileNotFoundError(name)


@pytest.fixture(scope="module")
def timm():
    with np.load(Path(__file__).parent / "fixtures" / "preprocess.npz") as fixture:
        return dict(fixture)


@pytest.mark.parametrize("case", CASES)
def test_equals_timm(case, timm):
    name, how = CASES[case]
    pixels = fit_image(open_image(photograph(name)), how)
    np.testing.assert_array_equal(pixels, timm[f"{case}/pixels"])
    np.testing.assert_array_max_ulp(normalize(pixels, how), timm[f"{case}/floats"], maxulp=1)


# fmt: off
TRAPS = [  # each row goes wrong if a truncation and a rounding of timm 1.0.31 change places
    # how                                picture   resized   left, top
    (Preprocess(10, 0.85),               (11, 11), (11, 11), (0, 0)),    # 11.76 truncated; 0.5 rounded to even
    (Preprocess(10, 0.76),               (13, 13), (13, 13), (-2, -2)),  # 13.16; 1.5 rounded to even
    (Preprocess(10, 1.0),                (3, 5),   (10, 16), (0, -3)),   # long side 16.67 truncated
    (Preprocess((6, 10), 1.0),           (30, 29), (10, 10), (0, -2)),   # not square: 9.67 rounded
    (Preprocess((6, 10), 1.0),           (20, 21), (10, 10), (0, -2)),   # 10.5 rounded to even
    (Preprocess((6, 10), 0.85),          (11, 9),  (11, 9),  (0, -2)),   # 7.06 and 11.76 truncated; 1.5
    (Preprocess(8, 1.0, "border"),       (30, 25), (8, 7),   (0, 0)),    # 6.67 rounded; the odd line of padding is last
    (Preprocess(8, 1.0, "border"),       (40, 25), (8, 5),   (0, 1)),
    (Preprocess(8, 1.0, "squash"),       (40, 25), (8, 8),   (0, 0)),
    (Preprocess((8, 10), 0.9, "squash"), (40, 25), (11, 8),  (0, 0)),
]
# fmt: on


@pytest.mark.parametrize(("how", "picture", "resized", "offset"), TRAPS)
def test_size_and_offset(how, picture, resized, offset):
    how = replace(how, mean=(0, 0, 0))  # border and centre crop then pad alike
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*picture[::-1], 3), dtype=np.uint8))
    whole = np.pad(np.asarray(image.resize(resized, Image.Resampling.BICUBIC)), ((9, 9), (9, 9), (0, 0)))
    (height, width), (left, top) = hw(how.size), offset
    np.testing.assert_array_equal(fit_image(image, how), whole[9 - top :, 9 - left :][:height, :width])


def test_padding_is_black_or_the_mean():
    image = Image.new("RGB", (2, 1), "white")
    assert (fit_image(image, Preprocess(4, 1.0, "border"))[0] == (124, 116, 104)).all()
    assert (fit_image(image, Preprocess(4, 2.0))[0, 0] == 0).all()  # a crop beyond the picture


sides = st.integers(1, 50)


@given(
    st.tuples(sides, sides),
    st.builds(
        Preprocess,
        size=sides | st.tuples(sides, sides),
        crop=st.floats(0.3, 1),
        fit=st.sampled_from(["crop", "squash"]),
        resample=st.sampled_from(["bicubic", "bilinear"]),
    ),
)
def test_any_size_becomes_the_size_asked_for(picture, how):
    x = preprocess(np.full((*picture, 3), 255, np.uint8), how)
    assert x.shape == (1, *hw(how.size), 3) and x.dtype == np.float32
    np.testing.assert_allclose(x[0, 0, 0], (1 - np.array(how.mean)) / how.std, rtol=1e-6)


def test_every_way_to_give_pictures(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 30, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels[0]).save(path := tmp_path / "a.png")
    how = Preprocess(16)
    first, both = preprocess(pixels[0], how), preprocess(pixels, how)
    assert both.shape == (2, 16, 16, 3) and (both[0] == first[0]).all()
    for same in path, str(path), open_image(path), [path], (pixels[0],), np.asfortranarray(pixels[0]):
        np.testing.assert_array_equal(preprocess(same, how), first)
    np.testing.assert_array_equal(preprocess([path, pixels[1]], how), both)
    np.testing.assert_array_equal(open_image(pixels[0, ..., 0]), np.repeat(pixels[0, ..., :1], 3, -1))


# Every kind of picture.


def palette(**info: object) -> Image.Image:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([9, 9, 9, 10, 20, 30])
    image.info |= info
    return image


def grey(mode: str, value: int) -> Image.Image:
    dtype = {"I": np.int32, "I;16": "<u2", "I;16B": ">u2"}[mode]
    image = Image.fromarray(np.full((2, 2), value, dtype))
    assert image.mode == mode
    return image


# fmt: off
MODES = [
    (Image.new("RGB", (2, 2), (10, 20, 30)),      (10, 20, 30)),
    (Image.new("RGBA", (2, 2), (10, 20, 30, 0)),  (10, 20, 30)),
    (Image.new("L", (2, 2), 77),                  (77, 77, 77)),
    (Image.new("LA", (2, 2), (77, 0)),            (77, 77, 77)),
    (Image.new("1", (2, 2), 1),                   (255, 255, 255)),
    (palette(),                                   (10, 20, 30)),
    (palette(transparency=1),                     (10, 20, 30)),
    (palette(transparency=bytes([255, 3])),       (10, 20, 30)),
    (palette(transparency=1).convert("PA"),       (10, 20, 30)),
    (Image.new("CMYK", (2, 2), (10, 20, 30, 40)), (207, 198, 190)),
    (Image.new("YCbCr", (2, 2), (100, 120, 140)), (116, 94, 85)),
    (Image.new("HSV", (2, 2), (100, 120, 140)),   (74, 140, 97)),
    (grey("I;16", 273),                           (1, 1, 1)),
    (grey("I;16", 63000),                         (246, 246, 246)),
    (grey("I;16B", 63000),                        (246, 246, 246)),
    (grey("I", 63000),                            (246, 246, 246)),
]
# fmt: on


@pytest.mark.parametrize(("image", "rgb"), MODES, ids=lambda value: getattr(value, "mode", ""))
def test_every_mode_becomes_rgb(image, rgb):
    before = image.copy()
    result = open_image(image)
    assert result.mode == "RGB" and (np.asarray(result) == rgb).all()
    assert image == before and image.info == before.info  # the caller's picture is left as it was


def png(width: int, height: int, depth: int, colour: int, lines: bytes, **chunks: bytes) -> bytes:
    chunks = {"IHDR": struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)} | chunks
    chunks |= {"IDAT": zlib.compress(lines), "IEND": b""}
    parts = [(len(data), name.encode() + data) for name, data in chunks.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", n) + part + struct.pack(">I", zlib.crc32(part)) for n, part in parts)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    image.save(file := io.BytesIO(), format, **options)
    return file.getvalue()


RED, BLUE = Image.new("RGB", (4, 2), "red"), Image.new("RGB", (4, 2), "blue")
MOVING = {"save_all": True, "append_images": [BLUE]}
CLEAR = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
SIXTEEN = struct.pack(">4H", 0x1234, 0x5678, 0x9ABC, 0xDEF0)
# fmt: off
FILES = {
    "png named .jpg":           (encoded(RED, "PNG"),                                        (255, 0, 0)),
    "bmp":                      (encoded(RED, "BMP"),                                        (255, 0, 0)),
    "1-bit bmp":                (encoded(Image.new("1", (4, 2), 1), "BMP"),                  (255, 255, 255)),
    "jpeg":                     (encoded(RED, "JPEG", quality=100),                          (254, 0, 0)),
    "jpeg, broken icc":         (encoded(RED, "JPEG", quality=100, icc_profile=b"none"),     (254, 0, 0)),
    "png, broken icc":          (encoded(RED, "PNG", icc_profile=b"none"),                   (255, 0, 0)),
    "png, undeflatable icc":    (png(1, 1, 8, 2, b"\0\1\2\3", iCCP=b"p\0\0none"),           (1, 2, 3)),
    "jpeg, cmyk":               (encoded(Image.new("CMYK", (2, 2), (255, 0, 0, 0)), "JPEG"), (0, 255, 255)),
    "webp, alpha":              (encoded(CLEAR, "WEBP", lossless=True, exact=True),          (10, 20, 30)),
    "png, palette, alpha":      (encoded(palette(), "PNG", transparency=bytes([255, 3])),    (10, 20, 30)),
    "gif, transparent":         (encoded(palette(), "GIF", transparency=1),                  (10, 20, 30)),
    "gif, animated":            (encoded(RED, "GIF", **MOVING),                              (255, 0, 0)),
    "png, animated":            (encoded(RED, "PNG", **MOVING),                              (255, 0, 0)),
    "webp, animated":           (encoded(RED, "WEBP", lossless=True, **MOVING),              (255, 0, 0)),
    "mpo":                      (encoded(RED, "MPO", **MOVING),                              (254, 0, 0)),
    "16-bit grey":              (png(1, 1, 16, 0, b"\0" + SIXTEEN[:2]),                      (18, 18, 18)),
    "16-bit grey, transparent": (png(1, 1, 16, 0, b"\0" + SIXTEEN[:2], tRNS=SIXTEEN[:2]),    (18, 18, 18)),
    "16-bit grey, alpha":       (png(1, 1, 16, 4, b"\0" + SIXTEEN[:4]),                      (18, 18, 18)),
    "16-bit colour":            (png(1, 1, 16, 2, b"\0" + SIXTEEN[:6]),                      (18, 86, 154)),
    "16-bit colour, alpha":     (png(1, 1, 16, 6, b"\0" + SIXTEEN),                          (18, 86, 154)),
}
# fmt: on


@pytest.mark.parametrize(("data", "rgb"), FILES.values(), ids=FILES.keys())
def test_every_kind_of_file(data, rgb, tmp_path):
    (path := tmp_path / "picture.jpg").write_bytes(data)
    result = open_image(path)
    assert result.mode == "RGB"
    np.testing.assert_array_equal(np.unique(np.asarray(result).reshape(-1, 3), axis=0), [rgb])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_ignored(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x112] = orientation
    (path := tmp_path / "a.jpg").write_bytes(encoded(RED, "JPEG", exif=exif))
    assert open_image(path).size == RED.size


# Refusals: one line, that names the file.


def refused(source: Any, *words: str) -> None:
    with pytest.raises(Error) as caught:
        preprocess(source, Preprocess(8))
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
FLIPPED = bytearray(png(1, 1, 8, 2, b"\0\1\2\3"))
FLIPPED[-13] ^= 1  # the last byte of IDAT's checksum; its pixels are intact


# fmt: off
BROKEN = {
    "empty":              (b"",                                             "0 bytes"),
    "svg":                (b"<svg xmlns='http://www.w3.org/2000/svg'/>",    "<svg xmlns="),
    "html":               (b"<!doctype html><title>404</title>",            "<!doctype html"),
    "pdf":                (b"%PDF-1.7\n",                                   "%PDF-1.7"),
    "lfs pointer":        (b"version https://git-lfs.github.com/spec/v1\n", "version https:"),
    "eps":                (encoded(RED, "EPS"),                             "%!PS-Adobe"),
    "psd":                (b"8BPS\0\1" + bytes(40),                         "8BPS"),
    "tiff":               (encoded(RED, "TIFF"),                            "none of JPEG, PNG"),
    "ppm":                (encoded(RED, "PPM"),                             "none of JPEG, PNG"),
    "truncated png":      (encoded(NOISE, "PNG")[:3000],                    "Truncated"),
    "png, header only":   (encoded(NOISE, "PNG")[:30],                      "damaged"),
    "truncated jpeg":     (encoded(NOISE, "JPEG")[:-2],                     "truncated"),
    "truncated webp":     (encoded(NOISE, "WEBP")[:-50],                    "decoder"),
    "truncated gif":      (encoded(NOISE, "GIF")[:1500],                    "truncated"),
    "truncated bmp":      (encoded(NOISE, "BMP")[:-3],                      "truncated"),
    "png checksum":       (bytes(FLIPPED),                                  "checksum"),
    "0x5":                (png(0, 5, 8, 2, b""),                            "damaged"),
    "64 Mpx":             (png(8000, 8000, 8, 0, b""),                      "8000 x 8000"),
    "where Pillow warns": (png(10_000, 10_000, 8, 0, b""),                  "10000 x 10000"),
    "where it raises":    (png(30_000, 30_000, 8, 0, b""),                  "900000000 pixels"),
    "largest png":        (png(2**31 - 1, 2**31 - 1, 8, 0, b""),            "pixels"),
    "strip":              (png(20_001, 1, 8, 0, b""),                       "20001 x 1"),
}
# fmt: on


@pytest.mark.parametrize(("data", "word"), BROKEN.values(), ids=BROKEN.keys())
def test_refuses_the_file(data, word, tmp_path):
    (path := tmp_path / "picture.png").write_bytes(data)
    refused(path, str(path), word)


def test_refuses_what_is_not_a_file(tmp_path):
    refused(tmp_path, str(tmp_path), "not a file")
    refused("/dev/zero", "/dev/zero", "not a file")
    os.mkfifo(fifo := tmp_path / "fifo")
    refused(fifo, str(fifo), "not a file")
    (link := tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    refused(link, str(link), "No such file")
    refused("gone.png", "gone.png", "No such file")
    refused("nul\0.png", "null")
    with open(large := tmp_path / "large.bmp", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    refused([large], str(large), str(MAX_BYTES))


# fmt: off
VALUES = [
    (np.zeros((5, 4, 3), np.float32),     "float32 (5, 4, 3)"),
    (np.zeros((5, 4, 3), np.uint16),      "uint16 (5, 4, 3)"),
    (np.zeros((5, 4), bool),              "bool (5, 4)"),
    (np.zeros((5, 4, 4), np.uint8),       "uint8 (5, 4, 4)"),
    (np.zeros((3, 5, 4), np.uint8),       "uint8 (3, 5, 4)"),
    (np.zeros((2, 3, 5, 4), np.uint8),    "uint8 (3, 5, 4)"),
    (np.zeros((1, 1, 5, 4, 3), np.uint8), "uint8 (1, 1, 5, 4, 3)"),
    (np.zeros(3, np.uint8),               "uint8 (3,)"),
    (np.zeros((0, 5, 3), np.uint8),       "uint8 (0, 5, 3)"),
    (np.zeros((0, 5, 4, 3), np.uint8),    "no pictures"),
    ([],                                  "no pictures"),
    (None,                                "NoneType"),
    (b"\xff\xd8\xff",                     "not int"),
    (Image.new("RGB", (0, 5)),            "0 x 5"),
    (Image.new("F", (5, 4)),              "mode F"),
    (Image.new("LAB", (5, 4)),            "mode LAB"),
    (grey("I", 65536),                    "16 bits"),
    (grey("I", -1),                       "16 bits"),
]
# fmt: on


@pytest.mark.parametrize(("source", "word"), VALUES, ids=[f"{word} {i}" for i, (_, word) in enumerate(VALUES)])
def test_refuses_the_value(source, word):
    refused(source, word)


def test_a_strip_is_refused_when_no_resized_picture_can_hold_it():
    strip = Image.new("RGB", (20_000, 1), "white")
    with pytest.raises(Error, match="5120000 x 256"):
        fit_image(strip, Preprocess(224))
    with pytest.raises(Error, match="224 x 0"):
        fit_image(strip, Preprocess(224, 1.0, "border"))
    assert (fit_image(strip, Preprocess(224, 1.0, "squash")) == 255).all()


def test_an_open_picture_that_turns_out_broken(tmp_path):
    (path := tmp_path / "a.jpg").write_bytes(encoded(NOISE, "JPEG")[:-40])
    with Image.open(path) as image:
        refused(image, str(path), "truncated")


def test_threads_leave_the_warning_filters_alone(tmp_path, monkeypatch):
    (path := tmp_path / "a.png").write_bytes(encoded(RED, "BMP"))
    before, opened, delays = list(warnings.filters), Image.open, iter([0.05, 0.2])

    def slow(*args, **options):  # unguarded, the second thread would save the first one's filters, and put them back last
        time.sleep(next(delays))
        return opened(*args, **options)

    monkeypatch.setattr(Image, "open", slow)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(open_image, [path, path]))
    assert list(warnings.filters) == before
