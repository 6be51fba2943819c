"""transformers' own numbers, stage by stage: `python -m tests.reference.make_huggingface` writes tests/fixtures/hf_*.npz.

hf_FAMILY.npz: a tiny network of each class, every parameter noised.
    config                 its config.json, as text
    state/KEY              its weights, as save_pretrained names them
    input, stage/NAME      pictures (B, H, W, 3), and what the network makes of them, as Model.stages names it
    resized/...            input and stages again, for pictures of another size
hf_full_vit_large_patch16_224.npz: google/vit-large-patch16-224's network, its weights, as its input, by recipe.
    config, manifest       config.json; key -> shape of its weights, JSON
    input, stage/NAME      the shape of the input; pooled, logits, and every 16th of the tokens
Both hold `meta`: JSON of the versions that made them.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file
from transformers import PreTrainedModel

from tests.recipe import uniform, weight

FIXTURES = Path(__file__).parents[1] / "fixtures"
TINY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 16, "patch_size": 4}
MLP = {"intermediate_size": 40}
RESIZED = (12, 20)  # 4 x 4 -> 3 x 5 patches
FULL = "full_vit_large_patch16_224"
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096, "num_labels": 1000}

# class, and what its config says beyond TINY
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViTForImageClassification", MLP | {"num_labels": 5}),
    "vit_pooler": ("ViTModel", MLP | {"pooler_output_size": 20, "qkv_bias": False, "hidden_act": "quick_gelu"}),
    "deit_taught": ("DeiTForImageClassificationWithTeacher", MLP | {"num_labels": 5}),
    "deit": ("DeiTForImageClassification", MLP | {"num_labels": 5, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}),
    "dinov2": ("Dinov2Model", {"use_swiglu_ffn": True}),
    "dinov2_linear": ("Dinov2ForImageClassification", {"mlp_ratio": 2, "num_labels": 5}),
    "dinov2_reg": (
        "Dinov2WithRegistersForImageClassification",
        {"use_swiglu_ffn": True, "num_labels": 5, "num_register_tokens": 3},
    ),
    "ijepa": ("IJepaForImageClassification", MLP | {"num_labels": 5}),
}


def build(name: str, dark: float = 1, **config: Any) -> PreTrainedModel:
    """transformers' network, all of its parameters by recipe under the names on disk, read by its own loader."""
    cls = getattr(transformers, name)
    empty = cls(cls.config_class(**config))
    state = {key: torch.from_numpy(np.asarray(_noised(key, tensor.shape, dark))) for key, tensor in saved(empty)[1].items()}
    return cls.from_pretrained(None, config=empty.config, state_dict=state).eval()


def _noised(key: str, shape: tuple[int, ...], dark: float) -> np.ndarray:
    """By recipe, the embeddings `dark` times as large: a stream that starts small is sensitive to an eps of 1e-12, too."""
    array = weight(key.replace(".lambda1", ".gamma"), shape)  # DINOv2's scales of branches are weights
    return array * np.float32(dark) if ".embeddings." in f".{key}" else array


def saved(model: PreTrainedModel) -> tuple[str, dict[str, np.ndarray]]:
    """The config.json and the tensors that transformers saves."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return (Path(folder) / "config.json").read_text(), load_file(Path(folder) / "model.safetensors")


@torch.inference_mode()
def run(model: PreTrainedModel, images: np.ndarray, resized: bool = True) -> dict[str, np.ndarray]:
    """What transformers' modules return for pictures (B, H, W, 3), of another size or not, named as Model.stages names it."""
    base = model.base_model
    places = {"patch": base.embeddings.patch_embeddings, "embed": base.embeddings}
    for i, block in enumerate(base.layers if hasattr(base, "layers") else base.encoder.layer):
        places |= {f"block_{i:02}/attn": block.attention, f"block_{i:02}/mlp": block.mlp, f"block_{i:02}": block}
    stages: dict[str, torch.Tensor] = {}

    def keep(name: str, out: Any) -> None:
        stages[name] = out[0] if isinstance(out, tuple) else out

    hooks = [module.register_forward_hook(lambda _m, _i, out, name=name: keep(name, out)) for name, module in places.items()]
    hooks.append(base.register_forward_hook(lambda _m, _i, out: stages.update(tokens=out.last_hidden_state)))
    own = {} if "Dinov2" in type(model).__name__ else {"interpolate_pos_encoding": resized}
    out = model(torch.from_numpy(images).permute(0, 3, 1, 2), **own)
    for hook in hooks:
        hook.remove()
    stages["pooled"] = _pooled(type(model).__name__, stages["tokens"], getattr(model.config, "num_register_tokens", 0))
    if getattr(base, "pooler", None) is not None:
        stages["pre_logits"] = out.pooler_output
    if hasattr(out, "logits"):
        stages["logits"] = out.logits
    return {name: stage.numpy() for name, stage in stages.items()}


def _pooled(name: str, tokens: torch.Tensor, registers: int) -> torch.Tensor:
    """What its head takes, or the bare model gives as pooled."""
    if "WithTeacher" in name:
        return (tokens[:, 0] + tokens[:, 1]) / 2
    if "IJepa" in name:
        return tokens.mean(1)
    if "Dinov2" in name and "Classification" in name:
        return torch.cat([tokens[:, 0], tokens[:, 1 + registers :].mean(1)], 1)
    return tokens[:, 0]


def pictures(*size: int) -> np.ndarray:
    """Two pictures."""
    return uniform("input", (2, *size, 3))


def tiny(name: str, config: dict[str, Any]) -> dict[str, np.ndarray]:
    model = build(name, 1 / 8, **TINY | config)
    images, other = pictures(16, 16), pictures(*RESIZED)
    text, tensors = saved(model)
    arrays = {"config": np.array(text), "meta": meta()} | {f"state/{key}": tensor for key, tensor in tensors.items()}
    arrays |= {"input": images} | {f"stage/{key}": stage for key, stage in run(model, images).items()}
    resized = run(model, other)
    return arrays | {"resized/input": other} | {f"resized/stage/{key}": resized[key] for key in ("embed", "tokens", "pooled")}


def full() -> dict[str, np.ndarray]:
    model = build("ViTForImageClassification", **LARGE)
    text, tensors = saved(model)
    images = uniform("input", (1, 224, 224, 3))
    stages = run(model, images)
    return {
        "config": np.array(text),
        "manifest": np.array(json.dumps({key: list(tensor.shape) for key, tensor in tensors.items()})),
        "meta": meta(),
        "input": np.array(images.shape),
        "stage/tokens": stages["tokens"][:, ::16],
        "stage/pooled": stages["pooled"],
        "stage/logits": stages["logits"],
    }


def meta() -> np.ndarray:
    versions = {"transformers": transformers.__version__, "torch": torch.__version__.partition("+")[0]}
    return np.array(json.dumps(versions | {"weights": "tests/recipe.py"}))


def make() -> dict[str, dict[str, np.ndarray]]:
    """File name -> its arrays."""
    return {f"hf_{family}.npz": tiny(*row) for family, row in FAMILIES.items()} | {f"hf_{FULL}.npz": full()}


if __name__ == "__main__":
    for name, arrays in make().items():
        np.savez_compressed(FIXTURES / name, **arrays)
