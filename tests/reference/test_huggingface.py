"""Live against transformers: networks drawn at random, its loader on what we write, the pixels of its image processors."""

import json
import random
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_images
from transformers import PreTrainedModel
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import vitjax
from tests.recipe import uniform
from tests.reference.make_huggingface import FIXTURES, build, run
from tests.test_parity import assert_close, assert_stages
from vitjax.converters import convert, export
from vitjax.converters.files import Bundle
from vitjax.converters.huggingface import HUGGINGFACE
from vitjax.converters.mapping import slots
from vitjax.model import shapes
from vitjax.preprocess import preprocess
from vitjax.variants import WEIGHTS, spec

CLASSES = [
    "ViTModel", "ViTForImageClassification", "DeiTModel", "DeiTForImageClassification", "DeiTForImageClassificationWithTeacher",
    "Dinov2Model", "Dinov2ForImageClassification", "Dinov2WithRegistersModel", "Dinov2WithRegistersForImageClassification",
    "IJepaModel", "IJepaForImageClassification", "ViTMSNModel", "ViTMSNForImageClassification",
]  # fmt: skip


def draw(seed: int) -> tuple[str, dict[str, Any]]:
    """A class and its config: every switch that config.json can hold, thrown at random."""
    rng = random.Random(seed)
    name, patch, heads = CLASSES[seed % len(CLASSES)], rng.choice([2, 4, 7]), rng.randint(2, 5)
    side = rng.randint(2, 5) * patch + rng.randrange(patch)
    config = {
        "image_size": side,
        "patch_size": patch,
        "hidden_size": heads * rng.choice([8, 12, 16]),
        "num_hidden_layers": rng.randint(1, 3),
        "num_attention_heads": heads,
        "num_labels": rng.choice([1, 5]),
        "hidden_act": rng.choice(["gelu", "gelu_pytorch_tanh", "gelu_new", "quick_gelu", "silu"]),
        "layer_norm_eps": rng.choice([1e-12, 1e-6, 1e-5]),
        "qkv_bias": rng.random() < 0.5,
    }
    if "Dinov2" in name:
        config |= {"mlp_ratio": rng.choice([1, 2, 4]), "use_swiglu_ffn": rng.random() < 0.5, "layerscale_value": 0.3}
        return name, config | ({"num_register_tokens": rng.choice([1, 4])} if "Registers" in name else {})
    if rng.random() < 0.5:
        config |= {"image_size": [side, side + patch]}
    pooler = {"pooler_output_size": rng.choice([8, 20])} if name in ("ViTModel", "DeiTModel") else {}
    return name, config | pooler | {"intermediate_size": rng.choice([24, 41])}


def loaded(folder: Any, name: str) -> PreTrainedModel:
    """transformers' own loader on a folder; it finds every tensor, and knows every one that it finds."""
    model, info = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model.eval()


@pytest.mark.parametrize("seed", range(16))
def test_any_network_there_and_back(seed, tmp_path):
    name, config = draw(seed)
    model = build(name, **config)
    model.save_pretrained(tmp_path / "theirs")
    ours = vitjax.load(tmp_path / "theirs")
    height, width = np.broadcast_to(config["image_size"], 2)
    x = uniform("input", (2, height, width, 3)) / 8
    stages = run(model, x, resized=False)
    assert_stages(ours, {"input": x} | {f"stage/{stage}": array for stage, array in stages.items()})
    assert_close(ours(x), stages.get("logits", stages.get("pre_logits", stages["pooled"])))
    maps = stages[f"block_{ours.config.depth - 1:02}"][:, ours.config.prefix :].reshape(2, *ours.config.grid, -1)
    assert_close(ours.feature_maps(x)[0], maps)

    export(*convert(tmp_path / "theirs"), tmp_path / "ours", "huggingface")
    back = loaded(tmp_path / "ours", name.replace("MSN", "")) if "MSNModel" not in name else None
    if back is not None:
        for key, tensor in model.state_dict().items():
            assert "mask_token" in key or torch.equal(back.state_dict()[key], tensor), key
        for stage, array in run(back, x, resized=False).items():
            assert_close(
                jnp.asarray(array), stages[stage]
            )  # the same network (but for gelu_new, which we write by its other name)

    if height == width:  # it resamples from squares only
        other = (height + 2 * config["patch_size"], width - config["patch_size"])
        x = uniform("input", (2, *other, 3)) / 8
        assert_stages(
            vitjax.load(tmp_path / "theirs", image=tuple(map(int, other))), {"input": x, "stage/tokens": run(model, x)["tokens"]}
        )


@pytest.mark.parametrize("name", [name for name, row in WEIGHTS.items() if row.dialect == "huggingface"])
def test_every_tensor_of_every_row_is_theirs(name):
    files = HUGGINGFACE.write_settings(spec(name))["config.json"]
    cls = getattr(transformers, files["architectures"][0])
    with torch.device("meta"):
        model = cls(cls.config_class(**files), **({"add_pooling_layer": False} if name.startswith("facebook/dino-") else {}))
    count = sum(tensor.numel() for tensor in model.state_dict().values())
    config = spec(name).config
    assert count == sum(int(np.prod(slot.shape)) for slot in slots(HUGGINGFACE.rules(config), shapes(config)))


PROCESSORS = [
    ViTImageProcessorPil(size={"height": 32, "width": 48}),
    ViTImageProcessorPil(size={"height": 33, "width": 33}, resample=3, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]),
    ViTImageProcessorPil(do_normalize=False),
    DeiTImageProcessorPil(),
    DeiTImageProcessorPil(size=438, crop_size=384),
    BitImageProcessorPil(size={"shortest_edge": 256}, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]),
    BitImageProcessorPil(size={"shortest_edge": 51}, crop_size={"height": 46, "width": 46}, resample=2),
    BitImageProcessorPil(),
]
PHOTOGRAPHS = [data.astronaut(), data.chelsea(), data.coffee(), *load_sample_images().images]
PHOTOGRAPHS += [PHOTOGRAPHS[0][: 300 + i, : 211 + 7 * i] for i in range(8)]  # crops of every parity


@pytest.mark.parametrize("processor", PROCESSORS, ids=range(len(PROCESSORS)))
def test_pictures_are_the_same(processor):
    kind = {"model_type": "vit", "hidden_size": 12, "num_attention_heads": 3}
    how = HUGGINGFACE.read_settings(Bundle(FIXTURES / "x", {}, kind, _json(processor))).preprocess
    written = HUGGINGFACE.write_settings(replace(spec("google/vit-base-patch16-224"), preprocess=how))["preprocessor_config.json"]
    again = type(processor)(**{key: value for key, value in written.items() if key != "image_processor_type"})
    for photograph in PHOTOGRAPHS:
        ours = preprocess(Image.fromarray(photograph), how)[0]
        for theirs in processor, again:
            pixels = theirs(Image.fromarray(photograph), return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
            assert pixels.shape == ours.shape and np.abs(pixels - ours).max() <= 2e-6


def _json(processor: Any) -> dict[str, Any]:
    return json.loads(processor.to_json_string())
