"""timm's own numbers, stage by stage: `python -m tests.reference.make_timm` writes tests/fixtures/timm_*.npz and full_*.npz.

timm_FAMILY.npz: a tiny network of each family, every parameter noised.
    config                 timm's config.json of it, as text
    state/KEY              its weights, as timm names them
    input, stage/NAME      pictures (B, H, W, 3), and what the network makes of them, as Model.stages names it
    maps                   the patch tokens after each block, normed, as pictures: (depth, B, h, w, C)
    resized/...            input and stages again, after timm resampled the positions for another picture size
full_ARCHITECTURE.npz: a published size, its weights, as its input, by recipe.
    manifest               key -> shape of its weights, JSON
    input, stage/NAME      the shape of the input; pooled, logits, and every 16th of the tokens
Both hold `meta`: JSON of the versions that made them.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from timm.models._hub import save_config_for_hf
from torch import nn

from tests.recipe import uniform, weight

FIXTURES = Path(__file__).parents[1] / "fixtures"
TINY = {"img_size": (16, 12), "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0, "num_classes": 7}
RESIZED = (12, 20)  # shorter and wider: 4 x 3 -> 3 x 5 patches
FULL = ("vit_base_patch16_384", "eva02_large_patch14_448", "eva_giant_patch14_224")

# The architecture brings its switches, TINY the sizes; what else a row says is said of it.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("vit_base_patch16_224", {"img_size": 16}),
    "clip": ("vit_base_patch16_clip_224", {}),
    "quickgelu": ("vit_base_patch16_clip_quickgelu_224", {}),
    "siglip_map": ("vit_base_patch16_siglip_224", {"num_classes": 0}),
    "siglip2_map": ("vit_base_patch32_siglip_256", {}),  # tanh GELU
    "siglip_gap": ("vit_base_patch16_siglip_gap_224", {"num_classes": 0}),  # norm, then mean
    "gap_reg4": ("vit_medium_patch16_reg4_gap_256", {}),  # registers, layer scale; mean, then norm
    "so150m2": ("vit_so150m2_patch16_reg1_gap_256", {}),  # no biases of query, key and value
    "map_reg4": ("vit_so150m_patch16_reg4_map_256", {}),  # attention pooling of patches only
    "map_prefix": ("test_vit3", {}),  # and of the register too
    "miil": ("vit_base_patch16_224_miil", {"img_size": (18, 15)}),  # 4 x 3 patches, and a rest that fills none
    "eva_large": ("eva_large_patch14_196", {}),
    "rpn": ("vit_base_patch16_rpn_224", {}),  # norms after the branches
    "dinov2_reg4": ("vit_small_patch14_reg4_dinov2", {"num_classes": 0}),
    "dinov2_giant": ("vit_giant_patch14_dinov2", {"num_classes": 0, "mlp_ratio": 4.0}),  # packed SwiGLU
    "deit3": ("deit3_small_patch16_224", {}),
    "flexivit": ("flexivit_small", {}),
    "intern300m": ("vit_intern300m_patch14_448", {}),  # no final norm
    "eva01": ("eva_giant_patch14_224", {"img_size": (18, 15)}),  # no bias of keys, which is two tensors
    "eva02_packed": ("eva02_tiny_patch14_224", {}),  # rotary positions, on a grid larger than the picture's
    "eva02_subln": ("eva02_base_patch14_224", {"ref_feat_shape": (2, 5)}),  # a norm in SwiGLU; another grid, not square
    "eva02_clip": ("eva02_base_patch16_clip_224", {"num_reg_tokens": 2}),  # and in attention; more that is not turned
    "eva02_enormous": ("eva02_enormous_patch14_clip_224", {}),  # norms after the branches
    "norms": ("vit_base_patch16_224", {"qk_norm": True, "scale_attn_norm": True, "scale_mlp_norm": True, "proj_bias": False}),
}


def build(architecture: str, **args: Any) -> nn.Module:
    """timm's network, all of its parameters by recipe."""
    model = timm.create_model(architecture, **args).eval()
    model.load_state_dict({key: torch.from_numpy(weight(key, tuple(t.shape))) for key, t in model.state_dict().items()})
    return model


def config(model: nn.Module) -> str:
    """The config.json that timm saves beside the weights."""
    with tempfile.NamedTemporaryFile() as file:
        save_config_for_hf(model, file.name)
        return file.read().decode()


@torch.inference_mode()
def run(model: nn.Module, images: np.ndarray) -> dict[str, np.ndarray]:
    """What timm's modules return for pictures (B, H, W, 3), named as Model.stages names it."""
    places = {"patch": model.patch_embed, "embed": model.norm_pre}
    for i, block in enumerate(model.blocks):
        places |= {f"block_{i:02}/attn": block.attn, f"block_{i:02}/mlp": block.mlp, f"block_{i:02}": block}
    stages: dict[str, torch.Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, out, name=name: stages.update({name: out}))
        for name, module in places.items()
    ]
    stages["tokens"] = tokens = model.forward_features(torch.from_numpy(images).permute(0, 3, 1, 2))
    for hook in hooks:
        hook.remove()
    stages["patch"] = stages["patch"].reshape(len(images), -1, model.embed_dim)  # some leave it a picture
    stages["pooled"] = model.forward_head(tokens, pre_logits=True)
    if model.num_classes:
        stages["logits"] = model.forward_head(tokens)
    return {name: stage.numpy() for name, stage in stages.items()}


@torch.inference_mode()
def feature_maps(model: nn.Module, images: np.ndarray, norm: bool) -> np.ndarray:
    """The patch tokens after each block as pictures, channels last: (depth, B, h, w, C)."""
    maps = model.forward_intermediates(torch.from_numpy(images).permute(0, 3, 1, 2), norm=norm, intermediates_only=True)
    return torch.stack(maps).permute(0, 1, 3, 4, 2).numpy()


def pictures(*size: int) -> np.ndarray:
    """Two pictures, darker than life: a stream that starts small is sensitive to the eps of its norms."""
    return uniform("input", (2, *size, 3)) / 8


def tiny(architecture: str, args: dict[str, Any]) -> dict[str, np.ndarray]:
    model = build(architecture, **TINY | args)
    images, other = pictures(*model.patch_embed.img_size), pictures(*RESIZED)
    arrays = {"config": np.array(config(model)), "meta": meta()}
    arrays |= {f"state/{key}": tensor.numpy() for key, tensor in model.state_dict().items()}
    arrays |= {"input": images, "maps": feature_maps(model, images, norm=True)}
    arrays |= {f"stage/{name}": stage for name, stage in run(model, images).items()}
    model.set_input_size(RESIZED)
    arrays["resized/input"] = other
    stages = run(model, other)
    return arrays | {f"resized/stage/{name}": stages[name] for name in ("embed", "tokens", "pooled")}


def full(architecture: str) -> dict[str, np.ndarray]:
    model = build(architecture)
    images = uniform("input", (1, *model.patch_embed.img_size, 3))
    stages = run(model, images)
    manifest = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    return {
        "manifest": np.array(json.dumps(manifest)),
        "meta": meta(),
        "input": np.array(images.shape),
        "stage/tokens": stages["tokens"][:, ::16],
        "stage/pooled": stages["pooled"],
        "stage/logits": stages["logits"],
    }


def meta() -> np.ndarray:
    return np.array(
        json.dumps({"timm": timm.__version__, "torch": torch.__version__.partition("+")[0], "weights": "tests/recipe.py"})
    )


def make() -> dict[str, dict[str, np.ndarray]]:
    """File name -> its arrays."""
    made = {f"timm_{family}.npz": tiny(*row) for family, row in FAMILIES.items()}
    return made | {f"full_{architecture}.npz": full(architecture) for architecture in FULL}


if __name__ == "__main__":
    for name, arrays in make().items():
        np.savez_compressed(FIXTURES / name, **arrays)
