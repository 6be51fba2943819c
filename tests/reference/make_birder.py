"""birder's own numbers, stage by stage: `python -m tests.reference.make_birder` writes tests/fixtures/birder_*.npz.

birder_FAMILY.npz: a tiny network, every parameter noised.
    network                the registered network that it is; `beside` says how it differs
    beside                 JSON: what birder saves beside the tensors, as birder.common.fs_ops.checkpoint_model does
    state/KEY              its weights, as birder names them
    input, stage/NAME      pictures (B, H, W, 3), and what the network makes of them, as Model.stages names it
    maps                   its detection features after each block as pictures, channels last: (depth, B, h, w, C)
    resized/...            input and stages again, after birder's adjust_size
birder_full_NETWORK.npz: a published size, its weights, as its input, by recipe; see make_timm. `maps`: every 4th row and column.
"""

from __future__ import annotations

import json
from typing import Any

import birder
import numpy as np
import torch
from birder.model_registry import registry
from birder.net.base import get_signature
from torch import nn

from tests.recipe import uniform, weight
from tests.reference.make_timm import FIXTURES, RESIZED, pictures

SIZES = {"patch_size": 4, "num_layers": 2, "num_heads": 3, "hidden_dim": 24, "mlp_dim": 40}
IMAGE, CLASSES = (16, 12), 7
RGB = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
FULL, PROJECTION = "vit_l14_pn_quick_gelu", 768

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "quick_gelu": ("vit_l14_pn_quick_gelu", {"head_bias": False}),  # a norm before, eps 1e-5, the sigmoid GELU
    "reg": ("vit_reg4_b16", {}),  # registers lead, and have positions
    "nps_ls": ("vit_reg4_s14_nps_ls", {"qkv_bias": False}),  # they have none
    "nap_avg": ("vit_reg1_s16_nap_avg", {}),  # mean of the patches, then norm
    "aps": ("vit_reg8_l16_aps", {"num_reg_tokens": 2}),  # attention pooling of all tokens, with an eps of its own
    "swiglu_ap": ("vit_reg8_so150m_p16_swiglu_ap", {"num_reg_tokens": 1}),  # and, without registers, with a GELU of its own
    "nf_swiglu": ("vit_b16_nf_swiglu", {"qk_norm": True, "post_norm": False}),
}


def build(network: str, config: dict[str, Any], classes: int, size: tuple[int, int]) -> nn.Module:
    """birder's network, all of its parameters by recipe."""
    model = registry.net_factory(network, classes, config=config, size=size).eval()
    model.load_state_dict({key: torch.from_numpy(weight(key, tuple(t.shape))) for key, t in model.state_dict().items()})
    return model


def channels_first(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@torch.inference_mode()
def run(model: nn.Module, images: np.ndarray) -> dict[str, np.ndarray]:
    """What birder's modules return for pictures (B, H, W, 3), named as Model.stages names it."""
    places = {"patch": model.patch_embed, "embed": model.encoder.pre_block}
    for i, block in enumerate(model.encoder.block):
        places |= {f"block_{i:02}/attn": block.attn, f"block_{i:02}/mlp": block.mlp, f"block_{i:02}": block}
    stages: dict[str, torch.Tensor] = {}
    hooks = [
        module.register_forward_hook(
            lambda _module, _inputs, out, name=name: stages.update({name: out[0] if isinstance(out, tuple) else out})
        )
        for name, module in places.items()
    ]
    stages["tokens"] = tokens = model.forward_features(channels_first(images))
    for hook in hooks:
        hook.remove()
    stages["pooled"] = pooled = model.embedding_from_features(tokens)
    if model.num_classes:
        stages["logits"] = model.classifier(pooled)
    return {name: stage.numpy() for name, stage in stages.items()}


@torch.inference_mode()
def feature_maps(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """The detection features as pictures, channels last: (stages, B, h, w, C)."""
    maps = model.detection_features(channels_first(images))
    return torch.stack(list(maps.values())).permute(0, 1, 3, 4, 2).numpy()


def beside(model: nn.Module, config: dict[str, Any]) -> dict[str, Any]:
    """What birder saves beside a network's tensors."""
    names = {f"bird {i}": model.num_classes - 1 - i for i in range(model.num_classes)}  # not in the order of their indexes
    signature = get_signature((1, 3, *model.size), model.num_classes)
    said = {"task": model.task, "signature": signature, "class_to_idx": names, "rgb_stats": RGB, "config": config}
    return {"birder_version": birder.__version__} | said


def tiny(network: str, config: dict[str, Any]) -> dict[str, np.ndarray]:
    config = SIZES | {"out_indices": [0, 1]} | config
    model = build(network, config, CLASSES, IMAGE)
    images, other = pictures(*IMAGE), pictures(*RESIZED)
    arrays = {"network": np.array(network), "beside": np.array(json.dumps(beside(model, config)))}
    arrays |= {f"state/{key}": tensor.numpy() for key, tensor in model.state_dict().items()}
    arrays |= {"input": images, "maps": feature_maps(model, images)}
    arrays |= {f"stage/{name}": stage for name, stage in run(model, images).items()}
    model.adjust_size(RESIZED)
    arrays["resized/input"] = other
    stages = run(model, other)
    return arrays | {f"resized/stage/{name}": stages[name] for name in ("embed", "tokens", "pooled")}


def full() -> dict[str, np.ndarray]:
    model = build(FULL, {"head_bias": False}, PROJECTION, (224, 224))
    images = uniform("input", (1, 224, 224, 3))
    stages, data = run(model, images), beside(model, {"head_bias": False})
    return {
        "manifest": np.array(json.dumps({key: list(tensor.shape) for key, tensor in model.state_dict().items()})),
        "beside": np.array(json.dumps(data | {"class_to_idx": {}})),
        "input": np.array(images.shape),
        "maps": feature_maps(model, images)[:, :, ::4, ::4],
        "stage/pooled": stages["pooled"],
        "stage/logits": stages["logits"],
    }


def make() -> dict[str, dict[str, np.ndarray]]:
    """File name -> its arrays."""
    versions = {"birder": birder.__version__, "torch": torch.__version__.partition("+")[0], "weights": "tests/recipe.py"}
    made = {f"birder_{family}.npz": tiny(*row) for family, row in FAMILIES.items()} | {f"birder_full_{FULL}.npz": full()}
    return {name: arrays | {"meta": np.array(json.dumps(versions))} for name, arrays in made.items()}


if __name__ == "__main__":
    for name, arrays in make().items():
        np.savez_compressed(FIXTURES / name, **arrays)
