"""The config.json of transformers' CLIP and SigLIP: what it says, what of it is old, and what is refused by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.test_huggingface_clip import EYE, IMAGE, NETWORKS, READ, WORDS
from vitjax import Error
from vitjax.config import CLIPConfig, Preprocess, Spec, TextConfig, Tokenize, ViTConfig
from vitjax.converters import files
from vitjax.converters.files import Bundle
from vitjax.converters.huggingface import HUGGINGFACE
from vitjax.converters.huggingface_pictures import CLIP, HALF
from vitjax.variants import WEIGHTS
from vitjax.variants import spec as variant

VISION = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "image_size": 8,
    "patch_size": 4,
}
TEXT = {
    "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 49408,
    "max_position_embeddings": 5,
}  # fmt: skip


def settings(config: dict, tensors: dict | None = None, **beside: Any) -> Spec:
    found = HUGGINGFACE.read_settings(Bundle(Path("somewhere/model.safetensors"), tensors or {}, config, **beside))
    assert found is not None
    return found


def test_defaults_are_those_of_its_classes():
    image = ViTConfig(
        224, 32, 768, 12, 12, 3072, 512, act="quick_gelu", eps=1e-5, patch_bias=False, norm_pre=True, head_bias=False,
        interpolation="cubic-pytorch",
    )  # fmt: skip
    text = TextConfig(77, 49408, 512, 12, 8, 2048, 512, act="quick_gelu", pool="eos", eos=49407)
    clip = settings({"model_type": "clip"})
    assert clip.config == CLIPConfig(image, text) and clip.name == "somewhere"
    assert clip.tokenize == Tokenize("huggingface", 49406, 49407, 49407)
    assert clip.preprocess == Preprocess(224, 1.0, "crop", "bicubic", *CLIP, centre="down")
    assert settings({"model_type": "clip", "projection_dim": 9}).config == CLIPConfig(
        replace(image, classes=9), replace(text, classes=9)
    )

    eye = replace(image, patch=16, act="gelu_tanh", eps=1e-6, patch_bias=True, norm_pre=False, head_bias=True)
    eye = replace(eye, cls=False, pool="map", classes=0)
    read = TextConfig(64, 32000, 768, 12, 12, 3072, 768, act="gelu_tanh", eps=1e-6, causal=False, pool="last", head_bias=True)
    siglip = settings({"model_type": "siglip"})
    assert siglip.config == CLIPConfig(eye, read, sigmoid=True) and siglip.tokenize == Tokenize("canonical", None, 1, 1)
    assert siglip.preprocess == Preprocess(224, 1.0, "squash", "bicubic", HALF, HALF, "down")

    towers = {
        "CLIPVisionModelWithProjection": image,
        "CLIPVisionModel": replace(image, classes=0),
        "CLIPTextModelWithProjection": text,
        "CLIPTextModel": replace(text, classes=0),
        "SiglipVisionModel": eye,
        "SiglipTextModel": read,
    }
    for name, config in towers.items():
        kind = f"{'clip' if 'CLIP' in name else 'siglip'}_{'text' if 'Text' in name else 'vision'}_model"
        found = settings({"model_type": kind, "architectures": [name]})
        assert found.config == config and (found.tokenize is None) == isinstance(config, ViTConfig)


def test_a_file_that_names_no_class_has_a_projection_if_its_tensors_say_so():
    for kind, name in (("clip_vision_model", "visual_projection.weight"), ("clip_text_model", "text_projection.weight")):
        assert settings({"model_type": kind}).config.classes == 0
        assert settings({"model_type": kind}, {name: np.ones((512, 2))}).config.classes == 512


# What is in files of 2021 beside the network, in each tower.
OLD = {
    "_name_or_path": "", "add_cross_attention": False, "architectures": None, "attention_dropout": 0.0, "bad_words_ids": None,
    "dropout": 0.0, "finetuning_task": None, "id2label": {"0": "LABEL_0"}, "initializer_factor": 1.0, "label2id": {"LABEL_0": 0},
    "length_penalty": 1.0, "max_length": 20, "pruned_heads": {}, "top_k": 50, "torch_dtype": None, "use_bfloat16": False,
}  # fmt: skip
WRONG = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}


def test_old_files_have_other_ids_than_their_tokenizer():
    config = {"model_type": "clip", "text_config": TEXT | OLD | WRONG, "vision_config": VISION | OLD, "projection_dim": 5}
    config |= {"text_config_dict": None, "vision_config_dict": None, "logit_scale_init_value": 2.6592, "initializer_factor": 1.0}
    found = settings(config)
    assert found.config == CLIPConfig(IMAGE, replace(WORDS, vocab=49408))
    assert found.tokenize == Tokenize("huggingface", 49406, 49407, 49407)
    written = HUGGINGFACE.write_settings(found)["config.json"]
    assert written["text_config"]["eos_token_id"] == 2 and settings(written).config == found.config


def test_where_a_tower_is_there_twice_one_counts_with_its_defaults():
    """So ids of 49407 replace the 2 beside it, and a text is found by its end."""
    config = {"model_type": "clip", "text_config": TEXT | WRONG, "text_config_dict": {"hidden_size": 16, "vocab_size": 50000}}
    found = settings(config).config.text
    assert (found.width, found.heads, found.context, found.vocab, found.pool, found.eos) == (16, 8, 77, 50000, "eos", 49407)
    with pytest.raises(Error, match=r"config.json: text_config: unknown key 'widht'"):
        settings(config | {"text_config": {"widht": 8}})
    with pytest.raises(Error, match="unknown key 'text_config_dict'"):
        settings(config | {"model_type": "siglip"})


ADDED = {"49406": {"content": "<|startoftext|>"}, "49407": {"content": "<|endoftext|>"}, "7": {"content": "[PAD]"}}
PADS = {
    "none": (None, 49407),
    "OpenAI's": ({"pad_token": "<|endoftext|>"}, 49407),
    "a dict": ({"pad_token": {"content": "<|endoftext|>", "lstrip": False}}, 49407),
    "Stable Diffusion's second": ({"pad_token": "!"}, 0),
    "by its id": ({"pad_token": "[PAD]", "added_tokens_decoder": ADDED}, 7),
    "a word without an id": ({"pad_token": "[PAD]"}, 49407),
}


@pytest.mark.parametrize(("file", "pad"), PADS.values(), ids=PADS)
def test_padding_is_what_the_tokenizer_says(file, pad):
    assert settings({"model_type": "clip"}, tokenizer=file).tokenize == Tokenize("huggingface", 49406, 49407, pad)


def test_texts_of_siglip():
    for vocab, how in ((32000, ("canonical", 1)), (250000, ("canonical", 1)), (256000, ("lower", 0))):
        found = settings({"model_type": "siglip_text_model", "vocab_size": vocab})
        assert found.tokenize == Tokenize(how[0], None, 1, how[1])
        assert settings(HUGGINGFACE.write_settings(found)["config.json"]).tokenize == found.tokenize


@pytest.mark.parametrize("config", NETWORKS, ids=range(len(NETWORKS)))
def test_what_is_written_is_read_as_the_same(config, tmp_path):
    how = Preprocess(8, 0.8, "crop", "bicubic", *CLIP, centre="down")
    both_ways = (config.text if isinstance(config, CLIPConfig) else config) in (EYE, READ)
    end = config.eos if isinstance(config, TextConfig) and config.eos else 49407
    texts = Tokenize("canonical", None, 1, 1) if both_ways else Tokenize("huggingface", 9, end, 0)
    spec = Spec("x", config, how, tokenize=None if isinstance(config, ViTConfig) else texts)
    for file, data in HUGGINGFACE.write_settings(spec).items():
        (tmp_path / file).write_text(json.dumps(data))
    beside = {field: files.read_json(tmp_path / name) for field, name in files.SETTINGS.items() if (tmp_path / name).exists()}
    found = settings(beside.pop("config"), **beside)
    assert found.config == config and found.tokenize == spec.tokenize
    assert found.preprocess == (Preprocess() if isinstance(config, TextConfig) else how)


CLIP_ROWS = [n for n, row in WEIGHTS.items() if row.dialect == "huggingface" and isinstance(variant(n).config, CLIPConfig)]


@pytest.mark.parametrize("name", CLIP_ROWS)
def test_a_row_is_what_its_settings_say(name):
    published = variant(name)
    written = HUGGINGFACE.write_settings(published)
    found = settings(written["config.json"], preprocessor=written["preprocessor_config.json"])
    assert (found.config, found.tokenize) == (published.config, published.tokenize)
    assert replace(found.preprocess, centre="even") == published.preprocess


BASE = {"model_type": "clip", "vision_config": VISION, "text_config": TEXT}
SIGLIP = {"model_type": "siglip", "vision_config": VISION, "text_config": TEXT | {"projection_size": 12}}
REFUSED = {
    "an unknown key": (BASE | {"temperature_init": 1}, "unknown key 'temperature_init'"),
    "an unknown key of a tower": (BASE | {"vision_config": VISION | {"use_mask": 1}}, "vision_config: unknown key 'use_mask'"),
    "NaFlex": (SIGLIP | {"model_type": "siglip2"}, r"model_type 'siglip2' is not read: .*NaFlex"),
    "NaFlex's tower": ({"model_type": "siglip2_vision_model"}, "is not read: .*NaFlex"),
    "a network nobody knows": ({"model_type": "clipp"}, "unknown model_type 'clipp'; the closest are: clip"),
    "another tower": (BASE | {"text_config": {"model_type": "bert"}}, "text_config: model_type 'bert' is not supported here"),
    "another class": (BASE | {"architectures": ["CLIPSegForImageSegmentation"]}, "architectures .* only one of CLIPModel"),
    "a classifier": (BASE | {"architectures": ["CLIPForImageClassification"]}, "is not read: its head takes the mean"),
    "SigLIP's": (SIGLIP | {"architectures": ["SiglipForImageClassification"]}, "is not read: its head takes the mean"),
    "no pooling": (SIGLIP | {"vision_config": {"vision_use_head": False}}, "vision_use_head False is not supported"),
    "an activation": (BASE | {"text_config": TEXT | {"hidden_act": "relu"}}, "unknown hidden_act 'relu'"),
    "channels": (BASE | {"vision_config": {"num_channels": 1}}, "num_channels 1 is not supported: only 3"),
    "two ends": (BASE | {"text_config": TEXT | {"eos_token_id": [1, 2]}}, "eos_token_id must be a whole number"),
    "no end": (BASE | {"text_config": TEXT | {"eos_token_id": None}}, "eos_token_id must be a whole number"),
    "an end out of vocabulary": (BASE | {"text_config": TEXT | {"eos_token_id": 49408}}, "an id below 49408"),
    "two sides": (BASE | {"vision_config": VISION | {"image_size": [8, 12]}}, "image_size must be a whole number"),
    "a text for a number": (BASE | {"projection_dim": "512"}, "projection_dim must be a whole number"),
    "a text for a tower": (BASE | {"vision_config": "vit"}, "vision_config must be a JSON object, not str"),
    "a list for a tower": (BASE | {"vision_config": [1]}, "vision_config must be a JSON object, not list"),
    "an eps that is a text": (BASE | {"vision_config": VISION | {"layer_norm_eps": "1e-6"}}, "eps must be float"),
    "heads that do not divide": (BASE | {"vision_config": VISION | {"num_attention_heads": 5}}, "does not divide into 5 heads"),
    "spaces that differ": (SIGLIP | {"text_config": TEXT}, "the image tower gives 12 numbers, the text tower 8"),
    "pruned heads": (BASE | {"text_config": TEXT | {"pruned_heads": {"0": [1]}}}, "pruned_heads .* is not supported"),
    "no projection": (BASE | {"projection_dim": -1}, "projection_dim must be a whole number"),
}


@pytest.mark.parametrize(("config", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_understood_is_refused_by_name(config, says):
    assert settings(BASE) and settings(SIGLIP)
    with pytest.raises(Error, match=f"^somewhere/config.json: .*{says}"):
        settings(config)


def test_a_tokenizer_file_that_is_none_is_told_of():
    with pytest.raises(Error, match=r"^somewhere/tokenizer_config.json: "):
        settings(BASE, tokenizer={"added_tokens_decoder": 5})


NOT_THEIRS = {
    "a CLIP of the mean": (IMAGE, {"pool": "mean"}, "CLIPVisionModel cannot be a network with pool='mean'"),
    "a bias of the projection": (IMAGE, {"head_bias": True}, "head_bias=True"),
    "a norm after": (IMAGE, {"norm": "after"}, "norm='after'"),
    "scaled branches": (IMAGE, {"layer_scale": 1e-5}, "layer_scale=1e-05"),
    "registers": (IMAGE, {"registers": 4}, "registers=4"),
    "SigLIP with classes": (EYE, {"classes": 3}, "SiglipVisionModel cannot be a network with classes=3"),
    "two activations": (EYE, {"pool_act": "gelu"}, "pool_act='gelu'"),
    "two eps": (EYE, {"pool_eps": 1e-5}, "pool_eps=1e-05"),
    "a probe for texts": (WORDS, {"pool": "map"}, "CLIPTextModel cannot be a network with pool='map'"),
    "an end of 2": (WORDS, {"pool": "eos", "eos": 2}, "eos=2, which it takes for the highest id"),
    "SigLIP without a head": (READ, {"classes": 0}, "SiglipTextModel cannot be a network with classes=0"),
}


@pytest.mark.parametrize(("config", "changes", "says"), NOT_THEIRS.values(), ids=NOT_THEIRS)
def test_a_network_that_is_not_theirs_names_the_switch(config, changes, says):
    with pytest.raises(Error, match=says):
        HUGGINGFACE.rules(replace(config, **changes))


def test_two_towers_that_are_not_theirs():
    with pytest.raises(Error, match="CLIPVisionModel cannot be a network with classes=0"):
        HUGGINGFACE.rules(CLIPConfig(replace(IMAGE, classes=0), replace(WORDS, classes=12)))
    with pytest.raises(Error, match="SiglipVisionModel cannot be a network with cls=True"):
        HUGGINGFACE.rules(CLIPConfig(replace(IMAGE, classes=0), READ, sigmoid=True))
    with pytest.raises(Error, match=r"a square, not for pictures of \(8, 12\)"):
        HUGGINGFACE.write_settings(Spec("x", replace(IMAGE, image=(8, 12))))


# Settings: pictures

SQUARE = {"height": 8, "width": 8}
PICTURES = {
    "2021": (
        {"feature_extractor_type": "CLIPFeatureExtractor", "size": 8, "crop_size": 8, "resample": 3},
        (8, 1.0, "crop", "bicubic"),
    ),
    "CLIP": (
        {
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": 10},
            "crop_size": SQUARE,
            "do_convert_rgb": True,
        },
        (8, 0.8, "crop", "bicubic"),
    ),
    "SigLIP": ({"image_processor_type": "SiglipImageProcessor", "size": SQUARE}, (8, 1.0, "squash", "bicubic")),
    "SigLIP 2": ({"image_processor_type": "SiglipImageProcessor", "size": SQUARE, "resample": 2}, (8, 1.0, "squash", "bilinear")),
}


@pytest.mark.parametrize(("file", "how"), PICTURES.values(), ids=PICTURES)
def test_pictures(file, how):
    mean_std = HALF, (0.25, 0.5, 0.75)
    file |= dict(zip(("image_mean", "image_std"), map(list, mean_std), strict=True))
    for beside in (
        {"preprocessor": file},
        {"preprocessor": {"size": 3}, "processor": {"image_processor": file, "processor_class": "x"}},
    ):
        assert settings(BASE, **beside).preprocess == Preprocess(*how, *mean_std, "down")
    with pytest.raises(Error, match=r"^somewhere/processor_config.json: .*do_resize"):
        settings(BASE, processor={"image_processor": file | {"do_resize": False}})
