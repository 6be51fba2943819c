"""open_clip's own numbers, stage by stage: `python -m tests.reference.make_open_clip` writes tests/fixtures/open_clip_*.npz.

open_clip_FAMILY.npz: a tiny network of each family, every parameter noised.
    config                 its open_clip_config.json, as text
    state/KEY              its weights, as open_clip names them
    input, ids, stage/NAME pictures (B, H, W, 3), texts (T, context), and what the network makes of them, as CLIP.stages names it
    resized/...            input and stages again, for pictures of another size
open_clip_full_vit_l14.npz: OpenAI's ViT-L/14, both towers, its weights, as its input, by recipe.
    config, manifest       open_clip_config.json; key -> shape of its weights, JSON
    input, ids             the shape of the input; two texts
    stage/NAME             features, logits, and every 16th of the tokens
Both hold `meta`: JSON of the versions that made them.
"""

from __future__ import annotations

import json
import logging
import tempfile
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import open_clip
import timm
import torch
from open_clip.factory import get_model_config, resize_pos_embed
from open_clip.transformer import text_global_pool
from torch import nn

from tests.recipe import uniform, weight
from tests.reference.make_timm import FIXTURES
from tests.reference.make_timm import run as run_timm

RESIZED = (12, 20)  # 4 x 4 -> 3 x 5 patches
FULL = "full_vit_l14"
VISION = {"image_size": 16, "patch_size": 4, "width": 24, "head_width": 8, "layers": 2, "mlp_ratio": 2.0}
TEXT = {"context_length": 9, "vocab_size": 60, "width": 16, "heads": 2, "layers": 2}
# open_clip asks timm for its towers by name alone: they are made small on the way.
TRUNK = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0}
SCALED = {"ls_init_value": 1e-4}
SQUASH = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "resize_mode": "squash"}
LATE = {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}
BERT = {"hf_tokenizer_name": "bert-base-uncased", "tokenizer_kwargs": {"strip_sep_token": True}}
SIGLIP = {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP2", "tokenizer_kwargs": {"clean": "canonicalize"}, "no_causal_mask": True}
SIGLIP |= {"proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"}}


def trunk(name: str, **how: Any) -> dict[str, Any]:
    """An image tower of timm's."""
    return {"timm_model_name": name, "timm_model_pretrained": False, "image_size": 16} | how


def eva(name: str) -> dict[str, Any]:
    """A small EVA-CLIP, of whose image tower this is the name."""
    vision = trunk(name, timm_pool="token", timm_proj=None)
    return {"embed_dim": 12, "custom_text": True, "vision_cfg": vision, "text_cfg": TEXT}


# model_cfg, and what preprocess_cfg says
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gelu": ({"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT}, {}),
    "quick_gelu": ({"embed_dim": 12, "quick_gelu": True, "vision_cfg": VISION | SCALED, "text_cfg": TEXT | SCALED}, {}),
    "clipa": (
        {
            "embed_dim": 12,
            "vision_cfg": VISION | LATE,
            "text_cfg": TEXT | BERT | {"context_length": 8, "pool_type": "last", "no_causal_mask": True},
        },
        {"interpolation": "bilinear", "resize_mode": "squash"},
    ),
    "eos": (
        {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT | {"pool_type": "eos", "eos_id": 40, "mlp_ratio": 1.7}},
        SQUASH,
    ),
    "odd": (  # as ViT-H's heads, and bigG's MLP
        {
            "embed_dim": 20,
            "vision_cfg": VISION | {"width": 30, "head_width": 10, "mlp_ratio": 4.9231},
            "text_cfg": TEXT | {"width": 20, "heads": 4, "norm_kwargs": {"eps": 1e-6}},
        },
        {},
    ),
    "siglip": (
        {
            "embed_dim": 24,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": trunk("vit_base_patch16_siglip_224", timm_pool="map", timm_proj="none"),
            "text_cfg": TEXT | SIGLIP,
        },
        SQUASH,
    ),
    "trunk": (  # as vit_medium_patch16_gap_256: a class CLIP with a tower of timm's
        {
            "embed_dim": 12,
            "vision_cfg": trunk("vit_medium_patch16_gap_256", timm_pool="", timm_proj="linear"),
            "text_cfg": TEXT,
        },
        {},
    ),
    "trunk_head": (  # as MobileCLIP2-L-14: the projection is timm's classifier
        {
            "embed_dim": 12,
            "custom_text": True,
            "vision_cfg": trunk("vit_large_patch14_clip_224", timm_pool="token", timm_proj=None),
            "text_cfg": TEXT | {"no_causal_mask": True},
        },
        {},
    ),
    "eva01": (eva("eva_giant_patch14_224"), {}),  # pooled by its mean, if one does not ask for the class token
    "eva02": (eva("eva02_base_patch16_clip_224"), {}),
    "eva02_e": (eva("eva02_enormous_patch14_clip_224"), {}),
}


def small_trunks(**sizes: Any) -> AbstractContextManager:
    """While this lasts, timm's networks are of these sizes."""
    return mock.patch.object(timm, "create_model", partial(timm.create_model, **TRUNK | sizes))


def build(config: dict[str, Any], precision: str = "fp32") -> nn.Module:
    """open_clip's network of an open_clip_config.json, all of its parameters by recipe."""
    logging.disable(logging.WARNING)  # that there are no weights
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "open_clip_config.json").write_text(json.dumps(config))
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, precision=precision).eval()
    logging.disable(logging.NOTSET)
    state = model.state_dict()
    model.load_state_dict({key: torch.from_numpy(np.asarray(weight(key, tuple(t.shape)))) for key, t in state.items()})
    return model


def resized(model: nn.Module, config: dict[str, Any], size: tuple[int, int]) -> nn.Module:
    """The same network for pictures of another size, by open_clip's own means."""
    if hasattr(model.visual, "trunk"):
        model.visual.set_input_size(size)
        return model
    vision = config["model_cfg"]["vision_cfg"] | {"image_size": list(size)}
    other, state = build(config | {"model_cfg": config["model_cfg"] | {"vision_cfg": vision}}), model.state_dict()
    resize_pos_embed(state, other)
    other.load_state_dict(state)
    return other


@torch.inference_mode()
def run(model: nn.Module, images: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    """What open_clip's modules return for pictures (B, H, W, 3) and texts, named as CLIP.stages names it."""
    text, stages, hooks = getattr(model, "text", model), dict[str, torch.Tensor](), []

    def keep(name: str, module: nn.Module, before: bool = False) -> None:
        def hook(_module: nn.Module, inputs: Any, out: Any = None) -> None:
            stages[name] = inputs[0] if before else out[0] if isinstance(out, tuple) else out

        hooks.append(module.register_forward_pre_hook(hook) if before else module.register_forward_hook(hook))

    def blocks(tower: str, module: nn.Module) -> None:
        keep(f"{tower}/embed", module.resblocks[0], before=True)
        for i, block in enumerate(module.resblocks):
            keep(f"{tower}/block_{i:02}/attn", block.attn)
            keep(f"{tower}/block_{i:02}/mlp", block.mlp)
            keep(f"{tower}/block_{i:02}", block)

    native = hasattr(model.visual, "conv1")
    if native:
        keep("image/patch", model.visual.conv1)
        blocks("image", model.visual.transformer)
    blocks("text", text.transformer)
    keep("text/tokens", text.ln_final)
    x, texts = torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(ids).long()
    stages |= {"image_features": model.encode_image(x), "text_features": model.encode_text(texts)}
    stages["logits_per_image"] = model.get_logits(x, texts)[0]
    for hook in hooks:
        hook.remove()
    pool, eos = (getattr(text, f"text_{name}", None) or getattr(text, name) for name in ("pool_type", "eos_id"))
    stages["text/pooled"] = text_global_pool(stages["text/tokens"], texts, pool, eos)
    if native:
        stages["image/patch"] = stages["image/patch"].flatten(2).transpose(1, 2)
        last = stages[f"image/block_{len(model.visual.transformer.resblocks) - 1:02}"]
        stages["image/tokens"] = last if model.visual.final_ln_after_pool else model.visual.ln_post(last)
        stages["image/pooled"] = model.visual._pool(last)[0]
    out = {name: stage.numpy() for name, stage in stages.items()}
    tower = {} if native else run_timm(model.visual.trunk, images)
    return out | {f"image/{name}": stage for name, stage in tower.items() if name != "logits"}


def pictures(*size: int) -> np.ndarray:
    """Two pictures, darker than life: a stream that starts small is sensitive to the eps of its norms."""
    return uniform("input", (2, *size, 3)) / 8


def texts(context: int, vocab: int) -> np.ndarray:
    """Three texts. Their end is the highest id, which can come twice; a 40 comes before and after higher ones."""
    start, end = vocab - 2, vocab - 1
    rows = [[start, 5, 40, 17, end, 0, 0], [start, 2, 31, 40, 11, end, 40], [start, 40, 9, end, 7, 2, end]]
    return np.array([(row + [0] * context)[:context] for row in rows], np.int32)


def tiny(model_cfg: dict[str, Any], preprocess_cfg: dict[str, Any]) -> dict[str, np.ndarray]:
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    with small_trunks():
        model = build(config)
        images, other = pictures(16, 16), pictures(*RESIZED)
        ids = texts(model.context_length, model.vocab_size)
        arrays = {"config": np.array(json.dumps(config)), "meta": meta(), "input": images, "ids": ids}
        arrays |= {f"state/{key}": tensor.numpy().copy() for key, tensor in model.state_dict().items()}
        arrays |= {f"stage/{name}": stage for name, stage in run(model, images, ids).items()}
        stages = run(resized(model, config, RESIZED), other, ids)
    names = ("image/embed", "image/tokens", "image/pooled", "image_features", "logits_per_image")
    return arrays | {"resized/input": other} | {f"resized/stage/{name}": stages[name] for name in names}


def full() -> dict[str, np.ndarray]:
    config = {"model_cfg": get_model_config("ViT-L-14-quickgelu"), "preprocess_cfg": {}}
    model = build(config)
    images, ids = uniform("input", (1, 224, 224, 3)), texts(77, 49408)
    stages = run(model, images, ids)
    arrays = {
        "config": np.array(json.dumps(config)),
        "manifest": np.array(json.dumps({key: list(tensor.shape) for key, tensor in model.state_dict().items()})),
        "meta": meta(),
        "input": np.array(images.shape),
        "ids": ids,
    }
    arrays |= {f"stage/{tower}/tokens": stages[f"{tower}/tokens"][:, ::16] for tower in ("image", "text")}
    return arrays | {f"stage/{name}": stages[name] for name in ("image_features", "text_features", "logits_per_image")}


def meta() -> np.ndarray:
    versions = {"open_clip": open_clip.__version__, "timm": timm.__version__, "torch": torch.__version__.partition("+")[0]}
    return np.array(json.dumps(versions | {"weights": "tests/recipe.py"}))


def make() -> dict[str, dict[str, np.ndarray]]:
    """File name -> its arrays."""
    made = {f"open_clip_{family}.npz": tiny(*row) for family, row in FAMILIES.items()}
    return made | {f"open_clip_{FULL}.npz": full()}


if __name__ == "__main__":
    for name, arrays in make().items():
        np.savez_compressed(FIXTURES / name, **arrays)
