"""How open_clip makes a network's pictures and texts, as its settings say it, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vitjax.config import Error, Preprocess, Size, TextConfig, Tokenize, hw, unknown

# open_clip/transform.py, PreprocessCfg and image_transform. Its "longest" pads with another colour than timm does.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
FITS = {"shortest": "crop", "squash": "squash"}
RESAMPLES = {"bicubic": "bicubic", "bilinear": "bilinear", "random": "bicubic"}
PICTURES = ("mean", "std", "interpolation", "resize_mode", "mode", "size", "fill_color")

# open_clip/tokenizer.py, HFTokenizer: what is done to a text; and of its vocabularies, by hf_tokenizer_name, the ids that
# come first and last and fill the rest, and how many a network for it knows.
CLEAN = {"whitespace": "whitespace", "lower": "openai", "canonicalize": "repaired"}
NEAREST = {"huggingface": "lower", "lower": "lower", "canonical": "canonicalize"}
TOKENIZERS = {
    "bert-base-uncased": (101, 102, 0, 32000),
    "facebook/xlm-v-base": (0, 2, 1, 901629),
    "google/mt5-base": (None, 1, 0, 250100),
    "timm/ViT-B-16-SigLIP": (None, 1, 1, 32000),
    "timm/ViT-B-16-SigLIP-i18n-256": (None, 1, 1, 250000),
    "timm/ViT-B-16-SigLIP2": (None, 1, 0, 256000),
}
SIGLIP = r"timm/ViT-.+-(SigLIP2?)(-.+)?"  # they have one vocabulary, but for i18n's, whose ids are used alike


def known(data: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise Error for a key that is none of these."""
    for key in data:
        if key not in names:
            raise unknown("key", key, names)


def pictures(cfg: Mapping[str, Any], image: Size) -> Preprocess:
    """How pictures are made. Their size is the network's, whatever is said (factory.py)."""
    known(cfg, PICTURES)
    cfg = {key: value for key, value in cfg.items() if value is not None}
    fit, resample = cfg.get("resize_mode", "shortest"), cfg.get("interpolation", "bicubic")
    if fit not in FITS:
        raise unknown("resize_mode", fit, FITS)
    if resample not in RESAMPLES:
        raise unknown("interpolation", resample, RESAMPLES)
    if fit == "shortest" and len(set(hw(image))) > 1:  # there it forgets what it was told
        resample = "bicubic"
    colours = tuple(cfg.get("mean", MEAN)), tuple(cfg.get("std", STD))
    return Preprocess(image, 1.0, FITS[fit], RESAMPLES[resample], *colours)  # type: ignore[arg-type]


def written_pictures(how: Preprocess, image: Size) -> dict[str, Any]:
    fits = {ours: theirs for theirs, ours in FITS.items()}
    if how.crop != 1.0 or how.size != image or how.fit not in fits:
        raise Error(f"open_clip cannot make such pictures: size {how.size} for a network of {image}, crop {how.crop}, {how.fit}")
    return {"mean": list(how.mean), "std": list(how.std), "interpolation": how.resample, "resize_mode": fits[how.fit]}


def tokenize(cfg: Mapping[str, Any]) -> Tokenize:
    """How a text becomes ids: by open_clip's own tokenizer, or one of transformers' by name."""
    name, kwargs = cfg.get("hf_tokenizer_name"), dict(cfg.get("tokenizer_kwargs") or {})
    clean, strip = kwargs.pop("clean", "whitespace" if name else "lower"), kwargs.pop("strip_sep_token", False)
    if kwargs or clean not in CLEAN or (not name and (clean != "lower" or strip)):
        raise Error(
            f"tokenizer_kwargs {cfg['tokenizer_kwargs']} are not supported: only clean and strip_sep_token of a tokenizer"
        )
    if not name:
        return Tokenize()
    if found := re.fullmatch(SIGLIP, name):
        name = f"timm/ViT-B-16-{found[1]}"
    if name not in TOKENIZERS:
        raise unknown("hf_tokenizer_name", name, TOKENIZERS)
    start, end, pad, _ = TOKENIZERS[name]
    return Tokenize(CLEAN[clean], start, 0 if strip else end, pad)  # type: ignore[arg-type]


def written_tokenizer(how: Tokenize, cfg: TextConfig) -> dict[str, Any]:
    """The tokenizer that makes these ids, or what the tower makes the same of."""
    if (how.start, how.end) == (Tokenize.start, Tokenize.end) and (cfg.causal or how.pad == Tokenize.pad):
        return {}
    clean = NEAREST.get(how.clean) or {ours: theirs for theirs, ours in CLEAN.items()}[how.clean]
    for name in sorted(TOKENIZERS, key=lambda name: TOKENIZERS[name][3] != cfg.vocab):
        start, end, pad, _ = TOKENIZERS[name]
        for strip, last in ({}, end), ({"strip_sep_token": True}, 0):
            if (how.start, how.end, how.pad) == (start, last, pad):
                return {"hf_tokenizer_name": name, "tokenizer_kwargs": {"clean": clean} | strip}
    raise Error(f"open_clip has no tokenizer that makes such ids: {how}")
