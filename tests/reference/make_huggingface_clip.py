"""transformers' own numbers for CLIP and SigLIP: `python -m tests.reference.make_huggingface_clip` writes hf_{clip,siglip}*.npz.

A tiny network of each class, every parameter noised:
    config                 its config.json, as text
    state/KEY              its weights, as save_pretrained names them
    input, ids             pictures (B, H, W, 3), and texts (T, context)
    stage/NAME             what the network makes of them, as CLIP.stages, Model.stages and TextModel.stages name it
    resized/...            pictures of another size, and stages again
    meta                   JSON of the versions that made it
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from tests.reference.make_huggingface import FIXTURES, RESIZED, TINY, build, meta, pictures, saved

VISION = TINY | {"intermediate_size": 40}
CONTEXT, VOCAB, START, END = 9, 60, 58, 59
TEXT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 28, "vocab_size": VOCAB,
    "max_position_embeddings": CONTEXT, "bos_token_id": START,
}  # fmt: skip
OLD, EOS = {"eos_token_id": 2}, {"eos_token_id": 40}  # of text: its highest id, or the first 40, where higher ones may follow
SPACE = {"projection_dim": 12}
GELU, OTHER = {"hidden_act": "gelu"}, {"layer_norm_eps": 1e-4}

# class, and what its config says
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "clip": ("CLIPModel", SPACE | {"vision_config": VISION, "text_config": TEXT | OLD | GELU}),
    "clip_eos": ("CLIPModel", SPACE | {"vision_config": VISION | GELU | OTHER, "text_config": TEXT | EOS}),
    "clip_vision": ("CLIPVisionModel", VISION),
    "clip_vision_space": ("CLIPVisionModelWithProjection", VISION | SPACE),
    "clip_text": ("CLIPTextModel", TEXT | OLD),
    "clip_text_space": ("CLIPTextModelWithProjection", TEXT | EOS | SPACE),
    "siglip": ("SiglipModel", {"vision_config": VISION, "text_config": TEXT | OTHER | {"projection_size": 24}}),
    "siglip_vision": ("SiglipVisionModel", VISION | GELU),
    "siglip_text": ("SiglipTextModel", TEXT | {"projection_size": 20}),
}


def texts(context: int = CONTEXT, vocab: int = VOCAB) -> np.ndarray:
    """Three texts. Higher ids follow a 40, a 2 comes before the highest, and the highest comes twice."""
    rows = [[START, 5, 40, 17, END, END, 0], [START, 2, 31, 40, 11, END, 40], [START, 40, 9, END, 7, 2, END]]
    return np.array([(row + [0] * context)[:context] for row in rows], np.int32) % vocab


@torch.inference_mode()
def run(model: PreTrainedModel, images: np.ndarray, ids: np.ndarray, resized: bool = True) -> dict[str, np.ndarray]:
    """What transformers' modules return, in our names, for pictures of another size or not."""
    name, kind = type(model).__name__, model.config.model_type
    vision = getattr(model, "vision_model", model if kind.endswith("vision_model") else None)
    text = getattr(model, "text_model", model if kind.endswith("text_model") else None)
    whole = vision is not None and text is not None
    stages: dict[str, torch.Tensor] = {}
    hooks = [] if vision is None else _hooks(vision, stages, "image/" if whole else "")
    hooks += [] if text is None else _hooks(text, stages, "text/" if whole else "")
    pixels = {} if vision is None else {"pixel_values": torch.from_numpy(images).permute(0, 3, 1, 2)}
    pixels |= {"interpolate_pos_encoding": resized} if pixels else {}
    words = {} if text is None else {"input_ids": torch.from_numpy(ids).long()}
    out = model(**pixels, **words)
    for hook in hooks:
        hook.remove()
    if whole:
        found = {"image_features": model.get_image_features(**pixels), "text_features": model.get_text_features(**words)}
        stages |= {key: features.pooler_output for key, features in found.items()} | {"logits_per_image": out.logits_per_image}
    elif "WithProjection" in name:
        stages["logits"] = out.image_embeds if text is None else out.text_embeds
    elif kind == "siglip_text_model":
        stages["logits"] = out.pooler_output
    return {name: stage.numpy() for name, stage in stages.items()}


def _hooks(tower: Any, stages: dict[str, torch.Tensor], prefix: str) -> list[Any]:
    """Keep what the modules of a tower return."""
    places = {} if hasattr(tower, "final_layer_norm") else {"patch": tower.embeddings.patch_embedding}
    places["embed"] = getattr(tower, "pre_layrnorm", tower.embeddings)
    for i, block in enumerate(tower.encoder.layers):
        places |= {f"block_{i:02}/attn": block.self_attn, f"block_{i:02}/mlp": block.mlp, f"block_{i:02}": block}

    def keep(name: str, out: Any) -> None:
        out = out[0] if isinstance(out, tuple) else out
        stages[prefix + name] = out.flatten(2).transpose(1, 2) if name == "patch" else out

    def end(out: Any) -> None:
        """CLIP's image tower norms the class token alone, SigLIP's text tower has its head before what it calls pooled."""
        tokens, pooled = out.last_hidden_state, out.pooler_output
        if hasattr(tower, "pre_layrnorm"):
            tokens = tower.post_layernorm(tokens)
        if tower.config.model_type == "siglip_text_model":
            pooled = tokens[:, -1]
        stages.update({f"{prefix}tokens": tokens, f"{prefix}pooled": pooled})

    hooks = [module.register_forward_hook(lambda _m, _i, out, name=name: keep(name, out)) for name, module in places.items()]
    return [*hooks, tower.register_forward_hook(lambda _m, _i, out: end(out))]


def tiny(name: str, config: dict[str, Any]) -> dict[str, np.ndarray]:
    model = build(name, 1 / 8, **config)
    text, tensors = saved(model)
    arrays = {"config": np.array(text), "meta": meta()} | {f"state/{key}": tensor for key, tensor in tensors.items()}
    images, other, ids = pictures(16, 16), pictures(*RESIZED), texts()
    arrays |= {} if "Text" in name else {"input": images}
    arrays |= {} if "Vision" in name else {"ids": ids}
    arrays |= {f"stage/{key}": stage for key, stage in run(model, images, ids).items()}
    if "Text" in name:
        return arrays
    resized = {key: stage for key, stage in run(model, other, ids).items() if "block" not in key and "text" not in key}
    return arrays | {"resized/input": other} | {f"resized/stage/{key}": stage for key, stage in resized.items()}


def make() -> dict[str, dict[str, np.ndarray]]:
    """File name -> its arrays."""
    return {f"hf_{family}.npz": tiny(*row) for family, row in FAMILIES.items()}


if __name__ == "__main__":
    for name, arrays in make().items():
        np.savez_compressed(FIXTURES / name, **arrays)
