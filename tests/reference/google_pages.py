"""What big_vision's own code gave for small networks, by the code on its page: that library is in no package registry."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.test_google import read, saved, under
from tests.test_google_clip import SIGLIP
from vitjax import variants

VIT, PAIR = "vit_base_patch16_224", "siglip_vit_base_patch16_224"  # they stand for the small networks of the fixtures
SIZES = ("image", "patch", "width", "depth", "heads", "mlp")


def google() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Recorded values by the code of a cell, and the inputs; the files are written into this folder."""
    vit, pair = read("google_tok"), read("google_siglip")
    for name, reference in ("B_16.npz", vit), ("siglip.npz", pair):
        saved(under("state/", reference), Path()).rename(name)
    said = json.loads(str(vit["meta"]))["config"]
    variants.VARIANTS[VIT] = replace(variants.VARIANTS[VIT], **{key: said[key] for key in SIZES})
    variants.VARIANTS[PAIR] = SIGLIP
    a, b = under("stage/", vit), under("stage/", pair)
    recorded = {
        "logits": a["logits"],
        'out["encoded"]': a["tokens"],
        'out["head_input"]': a["pooled"],
        'out["pre_logits"]': a["pre_logits"],
        'out["encoder"]["block01"]["+mlp"]': a["block_01"],
        'out["encoder"]["block00"]["sa"]': a["block_00/attn"],
        'model.apply({"params": params}, x)[0]': a["logits"],
        "zimg": b["image_features_norm"],
        "ztxt": b["text_features_norm"],
        'out["t"]': b["t_exp"],
        'out["b"]': b["b"],
        'zimg @ ztxt.T * out["t"] + out["b"]': b["logits_per_image"],
    }
    return recorded, {"x": vit["input"], "images": pair["input"], "ids": pair["ids"]}
