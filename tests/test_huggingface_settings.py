"""transformers' config.json and preprocessor_config.json: what they say, and what is refused by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.test_huggingface import SMALL_ROWS
from vitjax import Error, ViTConfig
from vitjax.config import Preprocess, Spec
from vitjax.converters.files import Bundle
from vitjax.converters.huggingface import HUGGINGFACE
from vitjax.variants import spec

HALF = (0.5, 0.5, 0.5)

# Settings: config.json

BASE = {"model_type": "vit", "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 20}


def settings(config: dict, preprocessor: dict | None = None, tensors: dict | None = None) -> Spec:
    return HUGGINGFACE.read_settings(Bundle(Path("somewhere/model.safetensors"), tensors or {}, config, preprocessor))


def test_defaults_are_those_of_its_classes():
    found = settings(BASE | {"architectures": ["ViTForImageClassification"]})
    assert found.config == ViTConfig(224, 16, 12, 1, 3, 20, 2, eps=1e-12, interpolation="cubic-pytorch")
    assert found.preprocess == Preprocess(224, 1.0, "squash", "bilinear", HALF, HALF, "down") and found.name == "somewhere"
    dino = settings({"model_type": "dinov2", "hidden_size": 16, "num_attention_heads": 2, "use_swiglu_ffn": True}).config
    assert (dino.patch, dino.eps, dino.mlp, dino.act, dino.layer_scale) == (14, 1e-6, 48, "silu", 1.0)


def test_labels():
    head = BASE | {"architectures": ["ViTForImageClassification"]}
    assert settings(head | {"id2label": {"1": "dog", "0": "cat"}}).labels == ("cat", "dog")
    assert settings(head | {"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}}).labels == ()
    assert settings(head | {"num_labels": 7}).config.classes == 7
    assert settings(BASE | {"architectures": ["ViTModel"], "id2label": {"0": "cat"}}).config.classes == 0
    assert settings(BASE, tensors={"classifier.weight": np.ones((2, 12))}).config.classes == 2  # an old file names no class


OLD = {
    "torch_dtype": "float32",
    "transformers_version": "4.13.0",
    "_name_or_path": "x",
    "problem_type": None,
    "pruned_heads": {},
    "top_k": 50,
    "torchscript": False,
    "encoder_stride": 16,
    "label2id": {"a": 0},
    "gradient_checkpointing": False,
}
REFUSED = {
    "an unknown key": ({"windows": 4}, "unknown key 'windows'"),
    "another network": ({"model_type": "beit"}, "model_type 'beit' is not read: its attention has relative positions"),
    "a network nobody knows": ({"model_type": "vitt"}, "unknown model_type 'vitt'; the closest are: vit"),
    "no network": ({"model_type": None}, "unknown model_type None"),
    "another class": (
        {"architectures": ["ViTForMaskedImageModeling"]},
        "architectures .* is not supported: only one of ViTModel, ",
    ),
    "an activation": ({"hidden_act": "relu"}, "unknown hidden_act 'relu'"),
    "channels": ({"num_channels": 1}, "num_channels 1 is not supported: only 3"),
    "pruned heads": ({"pruned_heads": {"0": [1]}}, "pruned_heads .* is not supported"),
    "a pooler without tanh": ({"pooler_act": "relu"}, "pooler_act 'relu' is not supported: only 'tanh'"),
    "two patch sizes": ({"patch_size": [16, 8]}, "patch must be int"),
    "a text for a number": ({"hidden_size": "12"}, "hidden_size must be a whole number, not '12'"),
    "a truth for a number": ({"num_hidden_layers": True}, "num_hidden_layers must be a whole number"),
    "an eps that is a text": ({"layer_norm_eps": "1e-6"}, "eps must be float"),
    "labels that are a number": ({"id2label": 5}, "TypeError"),
    "labels with a gap": ({"id2label": {"0": "a", "2": "b"}}, "id2label must name every class"),
    "labels of another number": ({"id2label": {"0": "a"}, "num_labels": 2}, "id2label must name every class"),
    "heads of another width": ({"head_dim": 5}, "head_dim 5 is not supported"),
}


@pytest.mark.parametrize(("change", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_understood_is_refused_by_name(change, says):
    assert settings(BASE | OLD).config == settings(BASE).config
    with pytest.raises(Error, match=f"^somewhere/config.json: .*{says}"):
        settings(BASE | change)


def test_a_width_is_that_of_its_ratio():
    row = replace(spec("facebook/dinov2-small").config, image=28, width=16, heads=2, depth=1)
    for mlp, gated in ((48, False), (48, True), (16, True)):
        published = Spec("x", replace(row, mlp=mlp, gated=gated, packed=gated, act="silu" if gated else "gelu"))
        assert settings(HUGGINGFACE.write_settings(published)["config.json"]).config == published.config
    with pytest.raises(Error, match="mlp=17"):
        HUGGINGFACE.write_settings(Spec("x", replace(row, mlp=17)))
    with pytest.raises(Error, match="square"):
        HUGGINGFACE.write_settings(Spec("x", replace(row, image=(28, 42), mlp=32)))


NOT_THEIRS = {
    "qk_norm": True, "norm_pre": True, "norm": "after", "positions": "patches", "pool": "map", "bias": False, "gated": True,
    "patch_bias": False, "head_bias": False, "norm_post": True, "qkv_bias": "qv",
}  # fmt: skip


@pytest.mark.parametrize("key", NOT_THEIRS)
def test_a_network_that_is_not_theirs_names_the_switch(key):
    with pytest.raises(Error, match=f"cannot be a network with {key}="):
        HUGGINGFACE.rules(replace(SMALL_ROWS["google/vit-base-patch16-224"], **{key: NOT_THEIRS[key]}))


# Settings: preprocessor_config.json

SQUARE = {"height": 32, "width": 32}
BIT = {"image_processor_type": "BitImageProcessor"}
PICTURES = {
    "ViT, 2021": ({"feature_extractor_type": "ViTFeatureExtractor", "size": 32}, (32, 1.0, "squash", "bilinear")),
    "ViT": ({"image_processor_type": "ViTImageProcessor", "size": SQUARE, "resample": 3}, (32, 1.0, "squash", "bicubic")),
    "ViT, fast": (
        {"image_processor_type": "ViTImageProcessorFast", "size": {"height": 32, "width": 48}},
        ((32, 48), 1.0, "squash", "bilinear"),
    ),
    "DeiT": ({"image_processor_type": "DeiTImageProcessor"}, (224, 0.875, "squash", "bicubic")),
    "DeiT at 384": (
        {"feature_extractor_type": "DeiTFeatureExtractor", "size": 438, "crop_size": 384},
        (384, 384 / 438, "squash", "bicubic"),
    ),
    "BiT": (BIT | {"size": {"shortest_edge": 40}, "crop_size": SQUARE}, (32, 0.8, "crop", "bicubic")),
    "BiT, a number": (BIT | {"size": 256}, (224, 0.875, "crop", "bicubic")),
}


@pytest.mark.parametrize(("file", "how"), PICTURES.values(), ids=PICTURES)
def test_pictures(file, how):
    mean_std = ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    found = settings(BASE, file | dict(zip(("image_mean", "image_std"), mean_std, strict=True))).preprocess
    assert found == Preprocess(*how, *map(tuple, mean_std), "down")
    raw = settings(BASE, file | {"do_normalize": False}).preprocess
    assert (raw.mean, raw.std) == ((0.0,) * 3, (1.0,) * 3)


NO_PICTURES = {
    "an unknown key": ({"crop_pct": 0.9}, "unknown key 'crop_pct'"),
    "another processor": ({"image_processor_type": "SamImageProcessor"}, "'SamImageProcessor' is not read"),
    "no resize": ({"do_resize": False}, "do_resize False is not supported"),
    "bytes": ({"do_rescale": False}, "do_rescale False is not supported"),
    "another scale": ({"rescale_factor": 1 / 127.5}, "rescale_factor .* is not supported"),
    "lanczos": ({"resample": 1}, "resample 1 is not supported"),
    "any size": ({"size": {"shortest_edge": 32}}, "size .* is not supported"),
    "a limit": ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "size .* is not supported"),
    "a larger crop": ({"do_center_crop": True, "size": 32, "crop_size": 40}, "crop_size .* is not supported"),
    "a text": ({"image_mean": "grey"}, "ValueError"),
    "two channels": ({"image_mean": [0.5, 0.5]}, "mean must be"),
}


@pytest.mark.parametrize(("file", "says"), NO_PICTURES.values(), ids=NO_PICTURES)
def test_pictures_that_cannot_be_made_are_refused_by_name(file, says):
    with pytest.raises(Error, match=f"^somewhere/preprocessor_config.json: .*{says}"):
        settings(BASE, file)
