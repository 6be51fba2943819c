"""Live against transformers' CLIP and SigLIP: networks drawn at random, its loader on what we write, its pictures."""

import random
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import CLIPConfig as TheirConfig
from transformers import CLIPProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

import vitjax
from tests.recipe import uniform
from tests.reference.make_huggingface import build
from tests.reference.make_huggingface_clip import FAMILIES, FIXTURES, run
from tests.reference.test_huggingface import PHOTOGRAPHS, _json, loaded
from tests.test_huggingface_clip import IMAGE, WORDS
from tests.test_parity import assert_close, assert_stages
from vitjax.config import CLIPConfig, Preprocess, Spec, TextConfig, Tokenize, ViTConfig
from vitjax.converters import convert, export
from vitjax.converters.files import Bundle
from vitjax.converters.huggingface import HUGGINGFACE
from vitjax.converters.huggingface_clip_settings import CLASSES, DEFAULTS
from vitjax.model import initialise
from vitjax.preprocess import preprocess
from vitjax.tokenizer import vocabulary

NAMES = [name for names in CLASSES.values() for name in names]
ACTS = ["gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "silu"]


def draw(seed: int) -> tuple[str, dict[str, Any]]:
    """A class and its config: every switch that config.json can hold, thrown at random; some are left to their defaults."""
    rng = random.Random(seed)
    name = NAMES[seed % len(NAMES)]

    def blocks() -> dict[str, Any]:
        heads = rng.randint(1, 4)
        config = {
            "hidden_size": heads * rng.choice([4, 6, 8]),
            "num_attention_heads": heads,
            "intermediate_size": rng.choice([16, 37]),
        }
        config |= {"hidden_act": rng.choice(ACTS)} if rng.random() < 0.7 else {}
        config |= {"layer_norm_eps": rng.choice([1e-6, 1e-5, 1e-4])} if rng.random() < 0.7 else {}
        return config | {"num_hidden_layers": rng.randint(1, 3)}

    patch, vocab, space = rng.choice([2, 4, 7]), rng.randint(20, 60), rng.choice([8, 12])
    vision = blocks() | {"image_size": rng.randint(2, 5) * patch + rng.randrange(patch), "patch_size": patch}
    text = blocks() | {"vocab_size": vocab, "max_position_embeddings": rng.randint(4, 9)}
    projected = {"projection_dim": space} if "CLIP" in name else {}
    text |= {"bos_token_id": vocab - 2, "eos_token_id": rng.choice([2, vocab - 1, 9])}
    if name == "SiglipTextModel":
        text["projection_size"] = rng.choice([None, space])
    match name:
        case "CLIPModel":
            return name, projected | {"vision_config": vision, "text_config": text}
        case "SiglipModel":
            return name, {"vision_config": vision, "text_config": text | {"projection_size": vision["hidden_size"]}}
    return name, (vision if "Vision" in name else text) | projected


def words(config: dict[str, Any], seed: int) -> np.ndarray:
    """Texts that end somewhere, whatever comes after that."""
    config = config.get("text_config", config)
    if "vocab_size" not in config:
        return np.zeros((1, 1), np.int32)
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, config["vocab_size"], (5, config["max_position_embeddings"])).astype(np.int32)
    ids[np.arange(5), rng.integers(0, ids.shape[1], 5)] = config["eos_token_id"]
    return ids


@pytest.mark.parametrize("seed", range(24))
def test_any_network_there_and_back(seed, tmp_path):
    name, config = draw(seed)
    model = build(name, 1 / 8, **config)
    model.save_pretrained(tmp_path / "theirs")
    ours = vitjax.load(tmp_path / "theirs")
    vision, ids = config.get("vision_config", config), words(config, seed)
    side = vision.get("image_size", 1)
    x = uniform("input", (2, side, side, 3)) / 8
    stages = run(model, x, ids, resized=False)
    assert set(ours.stages(*([x] if "Text" not in name else []), *([ids] if "Vision" not in name else []))) == set(stages)
    assert_stages(ours, {"input": x, "ids": ids} | {f"stage/{stage}": array for stage, array in stages.items()})

    export(*convert(tmp_path / "theirs"), tmp_path / "ours", "huggingface")
    back = loaded(tmp_path / "ours", name)
    assert all(torch.equal(back.state_dict()[key], tensor) for key, tensor in model.state_dict().items())
    assert back.state_dict().keys() == model.state_dict().keys()
    for stage, array in run(back, x, ids, resized=False).items():  # gelu_new we write by its other name
        assert_close(jnp.asarray(array), stages[stage])

    if "Text" not in name:
        patch = vision["patch_size"]
        x = uniform("input", (2, side + 2 * patch, side - patch, 3)) / 8
        found = {f"stage/{stage}": array for stage, array in run(model, x, ids).items() if stage.endswith(("tokens", "pooled"))}
        assert_stages(vitjax.load(tmp_path / "theirs", image=x.shape[1:3]), {"input": x, "ids": ids} | found)


@pytest.mark.parametrize("family", [name for name, (cls, _) in FAMILIES.items() if cls in ("CLIPModel", "SiglipModel")])
@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_tower_of_two_is_theirs_by_itself(family, tower, tmp_path):
    name, config = FAMILIES[family]
    model = build(name, 1 / 8, **config)
    model.save_pretrained(tmp_path / "both")
    part = vitjax.load(tmp_path / "both", tower=tower)
    export(part.spec, part.params, tmp_path / tower, "huggingface")
    end = {"CLIPModel": "ModelWithProjection", "SiglipModel": "Model"}[name]
    cls = name.removesuffix("Model") + {"image": "Vision", "text": "Text"}[tower] + end
    back = loaded(tmp_path / tower, cls)
    with np.load(FIXTURES / f"hf_{family}.npz") as file:
        reference = dict(file)
    out = run(back, reference["input"], reference["ids"], resized=False)
    assert_close(jnp.asarray(out.get("logits", out["pooled"])), reference[f"stage/{tower}_features"])


def test_defaults_are_theirs():
    for kind, names in CLASSES.items():
        theirs = getattr(transformers, names[0]).config_class()
        assert theirs.model_type == kind
        for key, value in DEFAULTS[kind].items():
            found = getattr(theirs, key)
            assert found == (theirs.hidden_size if key == "projection_size" else value), (kind, key)


OLD = [
    ({"hidden_size": 8, "eos_token_id": 2}, None),
    ({"hidden_size": 8, "eos_token_id": 2, "hidden_act": "gelu"}, {"hidden_size": 16}),
    ({"hidden_act": "gelu", "eos_token_id": 2}, {"hidden_act": "gelu", "eos_token_id": 7}),
    ({"num_hidden_layers": 3}, {}),
    (None, {"num_hidden_layers": 5}),
]


@pytest.mark.parametrize(("said", "old"), OLD)
def test_a_tower_that_is_there_twice(said, old):
    theirs = TheirConfig(text_config=said and dict(said), text_config_dict=old).text_config
    file = {"model_type": "clip", "text_config": said, "text_config_dict": old}
    config = HUGGINGFACE.read_settings(Bundle(FIXTURES / "x", {}, file)).config.text
    assert isinstance(config, TextConfig)
    assert (config.width, config.depth, config.mlp) == (theirs.hidden_size, theirs.num_hidden_layers, theirs.intermediate_size)
    assert (config.act, config.eos or 2) == (theirs.hidden_act, theirs.eos_token_id)


PROCESSORS = [
    CLIPImageProcessorPil(),
    CLIPImageProcessorPil(size={"shortest_edge": 51}, crop_size={"height": 46, "width": 46}),
    CLIPImageProcessorPil(size=33, crop_size=33, resample=2, image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5]),
    CLIPImageProcessorPil(size={"height": 40, "width": 40}, do_center_crop=False),
    SiglipImageProcessorPil(),
    SiglipImageProcessorPil(size={"height": 37, "width": 37}, resample=2),
    SiglipImageProcessorPil(size={"shortest_edge": 48}, do_center_crop=True, crop_size={"height": 40, "width": 40}),
]


@pytest.mark.parametrize("processor", PROCESSORS, ids=range(len(PROCESSORS)))
def test_pictures_are_the_same(processor):
    kind = "clip" if "CLIP" in type(processor).__name__ else "siglip"
    bundle = Bundle(FIXTURES / "x", {}, {"model_type": kind}, _json(processor))
    spec = HUGGINGFACE.read_settings(bundle)
    written = HUGGINGFACE.write_settings(spec)["preprocessor_config.json"]
    assert written["image_processor_type"] == type(processor).__name__.removesuffix("Pil")
    again = type(processor)(**{key: value for key, value in written.items() if key != "image_processor_type"})
    assert HUGGINGFACE.read_settings(replace(bundle, preprocessor=written)) == spec
    for photograph in PHOTOGRAPHS:
        ours = preprocess(Image.fromarray(photograph), spec.preprocess)[0]
        for theirs in processor, again:
            pixels = theirs(Image.fromarray(photograph), return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
            assert pixels.shape == ours.shape and np.abs(pixels - ours).max() <= 2e-6


def test_its_own_folder_of_a_processor(tmp_path):
    """What `CLIPProcessor.save_pretrained` writes of the pictures, beside the network's settings."""
    (tmp_path / "theirs").mkdir()
    model = build("CLIPVisionModel", 1 / 8, **FAMILIES["clip_vision"][1])
    model.save_pretrained(tmp_path / "theirs")
    processor = CLIPImageProcessorPil(size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16}, resample=2)
    processor.save_pretrained(tmp_path / "theirs")
    found = vitjax.load(tmp_path / "theirs")
    assert isinstance(found.config, ViTConfig)
    assert (found.spec.preprocess.crop, found.spec.preprocess.resample) == (0.8, "bilinear")


@pytest.mark.parametrize("pad", [0, 515])
def test_its_processor_opens_what_we_write(pad, tmp_path):
    """With the vocabulary beside it; texts are filled up as the spec says."""
    (tmp_path / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    how = Tokenize("huggingface", 514, 515, pad)
    config = CLIPConfig(IMAGE, replace(WORDS, vocab=516, context=9, pool="eos", eos=515))
    pictures = Preprocess(8, 0.8, "crop", "bicubic", centre="down")
    export(Spec("x", config, pictures, tokenize=how), initialise(config), tmp_path / "ours", "huggingface")
    (tmp_path / "ours" / "tokenizer.json").write_text(vocabulary(tmp_path / "merges.txt"))
    processor, model = CLIPProcessor.from_pretrained(tmp_path / "ours"), vitjax.load(tmp_path / "ours")
    assert model.spec.tokenize == how and model.spec.preprocess == pictures
    texts = ["a cat", "", "cats at a cat's cafe"]
    theirs = processor(text=texts, padding="max_length", truncation=True, return_tensors="np")["input_ids"]
    np.testing.assert_array_equal(model.tokenize(texts), theirs)
    assert type(processor.image_processor).__name__ == "CLIPImageProcessor"
