"""Live against open_clip: every configuration and every published tag, networks drawn at random, its loader, its pictures."""

import json
import logging
import random
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import open_clip
import pytest
import timm
import torch
from open_clip.factory import get_model_config, load_state_dict
from open_clip.hf_model import HFTextEncoder
from open_clip.pretrained import _PRETRAINED
from PIL import Image
from safetensors.torch import save_file
from timm.models import get_pretrained_cfg
from torch import nn
from transformers import M2M100Config, MT5Config, XLMRobertaConfig

import vitjax
from tests.recipe import uniform
from tests.reference.make_open_clip import TEXT, VISION, build, eva, resized, run, small_trunks, texts
from tests.test_open_clip import assert_numbers
from tests.test_parity import assert_stages
from tests.test_preprocess import photograph
from vitjax import Error, variants
from vitjax.clip_variants import OPEN_CLIP as ROWS
from vitjax.clip_variants import REFUSED
from vitjax.clip_weights import WEIGHTS
from vitjax.converters import convert, export, recognise
from vitjax.converters.files import OPEN_CLIP_CONFIG, Bundle
from vitjax.converters.identify import respelt, with_act
from vitjax.converters.mapping import slots
from vitjax.converters.open_clip import OPEN_CLIP, SIZES
from vitjax.converters.open_clip_settings import TIMM_POOLS
from vitjax.converters.timm_settings import OURS as UNKNOWN_THERE
from vitjax.model import shapes
from vitjax.preprocess import preprocess
from vitjax.variants import VARIANTS, parameters, spec

READ = {"vit_medium_patch16_gap_256"}  # its settings are read; its name is that of timm's network, and there are no weights
NAMES = open_clip.list_models()
OURS = [name for name in NAMES if name.removesuffix("-quickgelu") in ROWS]
HUGGING_FACE = {name for name in NAMES if "hf_model_name" in get_model_config(name)["text_cfg"]}


def settings(name: str) -> dict[str, Any]:
    model = get_model_config(name)
    model["vision_cfg"].pop("timm_drop_path", None)  # it shows when a network is printed, and in training
    return {"model_cfg": model, "preprocess_cfg": {}}


def read(config: dict[str, Any], tensors: Any = None) -> Any:
    return OPEN_CLIP.read_settings(Bundle(Path("there/x"), tensors or {}, open_clip=config))


def empty(config: dict[str, Any]) -> nn.Module:
    """open_clip's network of settings, without numbers."""
    model = dict(config["model_cfg"])
    cls = open_clip.CustomTextCLIP if model.pop("custom_text", False) else open_clip.CLIP
    cls = open_clip.CoCa if "multimodal_cfg" in model else cls
    with torch.device("meta"):
        return cls(**model)


def tensors(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: np.broadcast_to(np.float32(0), tensor.shape) for name, tensor in model.state_dict().items()}


def test_no_configuration_is_forgotten_or_invented():
    refused = {name for name in NAMES if any(fnmatchcase(name, pattern) for pattern in REFUSED)} - set(OURS)
    assert set(OURS) | refused | READ == set(NAMES) and not READ & (set(OURS) | refused)
    assert set(ROWS) == {name.removesuffix("-quickgelu") for name in OURS} and set(ROWS.values()) == set(variants.CLIPS)
    assert all(any(fnmatchcase(name, pattern) for name in refused) for pattern in REFUSED)


@pytest.mark.parametrize("name", [*OURS, *READ])
def test_a_configuration_is_our_row(name):
    ours, model = read(settings(name)), empty(settings(name))
    if name not in READ:
        row = VARIANTS[ROWS[name.removesuffix("-quickgelu")]]
        assert ours.config == (with_act(row, "quick_gelu") if name.endswith("-quickgelu") else row)
    wanted = slots(OPEN_CLIP.rules(ours.config), shapes(ours.config))
    spelt = respelt(OPEN_CLIP, ours.config, tensors(model))  # a class CLIP with a tower of timm's is written as CustomTextCLIP
    assert name in READ or spelt.keys() == model.state_dict().keys()
    assert {slot.theirs: slot.shape for slot in wanted} == {key: tensor.shape for key, tensor in spelt.items()}
    assert parameters(ours.config) == sum(p.numel() for p in model.parameters())
    written = OPEN_CLIP.write_settings(ours)[OPEN_CLIP_CONFIG]
    assert read(written) == ours
    again = empty(written)
    assert name in READ or (type(again) is type(model) and str(again) == str(model))


def built(vision: dict[str, Any]) -> nn.Module | None:
    """open_clip's image tower without numbers, of one block; None where timm has no such network."""
    with torch.device("meta"), mock.patch.object(timm, "create_model", partial(timm.create_model, depth=1)):
        try:
            return open_clip.model._build_vision_tower(16, vision)
        except AssertionError:
            return None


@pytest.mark.parametrize("projection", [None, "none", "linear"])
def test_every_tower_of_timms_pools_as_open_clip_makes_it(projection):
    """Where its norm is, by name; what we have not (a new attention pooling, tokens not pooled) is refused."""
    for name, row in variants.TIMM.items():
        if name in UNKNOWN_THERE or row.distilled:
            continue
        for pool in "token", "avg", "map":
            vision = {"timm_model_name": name, "timm_pool": pool, "timm_proj": projection, "image_size": row.image}
            model = built(vision)
            width = row.width if projection == "none" else 16
            config = {"model_cfg": {"embed_dim": width, "vision_cfg": vision, "text_cfg": TEXT | {"width": 16}}}
            try:
                ours = read(config).config.image
            except Error as error:
                plain = "under other names" in str(error)
                assert model is None or plain or pool == "map" != row.pool, (vision, error)
                continue
            assert model is not None, vision
            rules = OPEN_CLIP.rules(one := replace(ours, depth=1))
            wanted = {slot.theirs: slot.shape for slot in slots(rules, shapes(one))}
            assert wanted == {f"visual.{key}": tuple(tensor.shape) for key, tensor in model.state_dict().items()}, vision
            assert one.pool == {"avg": "mean"}.get(model.trunk.global_pool, model.trunk.global_pool), vision


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*OURS, *READ)])
def test_other_configurations_are_refused(name):
    with pytest.raises(Error) as error:
        read(settings(name))
    assert str(error.value).startswith(f"there/{OPEN_CLIP_CONFIG}: ")
    with pytest.raises(Error, match="is known to its publisher, not here: its "):
        variants.architecture(name)


@pytest.mark.parametrize(
    "name", ["RN50", "RN50x64", "coca_ViT-L-14", "convnext_base", "swin_base_patch4_window7_224", "MobileCLIP-B"]
)
def test_other_networks_are_refused_by_their_tensors(name):
    bundle = Bundle(Path("x"), tensors(empty(settings(name))))
    assert recognise(bundle) is OPEN_CLIP
    with pytest.raises(Error, match=r"is a CLIP whose (image|text) tower "):
        OPEN_CLIP.read_settings(bundle)


ROBERTA = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20}
T5 = {"d_model": 8, "d_kv": 4, "num_layers": 1, "num_heads": 2, "vocab_size": 20}
BART = {f"{part}_{what}": 2 for part in ("encoder", "decoder") for what in ("layers", "attention_heads", "ffn_dim")}


@pytest.mark.parametrize("config", [XLMRobertaConfig(**ROBERTA), MT5Config(**T5), M2M100Config(d_model=8, vocab_size=20, **BART)])
def test_texts_by_transformers_are_refused_by_their_tensors(config):
    encoder = HFTextEncoder("", 8, config=config, pooler_type="mean_pooler", proj_type="linear")
    names = {f"text.{name}": tensor for name, tensor in tensors(encoder).items()}
    inner = {name.replace("transformer.encoder.", "transformer."): tensor for name, tensor in names.items()}
    for found in names, inner:  # of an encoder with a decoder, open_clip keeps the encoder
        with pytest.raises(Error, match="text tower is one of transformers'"):
            OPEN_CLIP.read_settings(Bundle(Path("x"), found))


# Published weights


@pytest.mark.parametrize("name", ROWS)
def test_tags_are_open_clips_in_its_order(name):
    assert [tag for tag in WEIGHTS if tag.startswith(f"{ROWS[name]}.")] == [
        f"{ROWS[name]}.{tag}" for tag in _PRETRAINED.get(name, ())
    ]


@pytest.mark.parametrize(("name", "tag"), [(name, tag) for name in ROWS for tag in _PRETRAINED.get(name, ())])
def test_a_tag_is_what_open_clip_says(name, tag):
    theirs, row = _PRETRAINED[name][tag], WEIGHTS[f"{ROWS[name]}.{tag}"]
    ours = spec(f"{ROWS[name]}.{tag}")
    how = ours.preprocess
    assert (how.mean, how.std, how.resample) == (theirs["mean"], theirs["std"], theirs["interpolation"])
    assert (how.fit, how.crop, how.size) == (
        {"shortest": "crop"}.get(theirs["resize_mode"], "squash"),
        1.0,
        ours.config.image.image,
    )
    quick = theirs.get("quick_gelu", False)
    acts = {tower.act for tower in (ours.config.image, ours.config.text)}
    assert (acts == {"quick_gelu"}) == quick and (quick or ours.config == VARIANTS[ROWS[name]])
    if tag == "openai":
        assert ours.source.origin == theirs["url"] and ours.source.sha256 == theirs["url"].split("/")[-2]
        assert (ours.source.dialect, ours.source.reference) == ("openai", "openai/CLIP d05afc4")
    else:
        assert ours.source.origin == "hf:" + theirs["hf_hub"].removesuffix("/") and row.sha256 == ""
        assert (ours.source.dialect, ours.source.reference) == ("open_clip", f"open_clip {open_clip.__version__}")
    assert ours.tokenize == read(settings(name)).tokenize
    assert variants.resolve(f"{name}:{tag}") == f"{ROWS[name]}.{tag}"
    if quick and f"{name}-quickgelu" in NAMES:
        assert ours.config == read(settings(f"{name}-quickgelu")).config


LICENSED = {  # timm has the image towers of some of the same weights
    cfg.hf_hub_id: cfg.license
    for name in timm.list_pretrained("vit_*")
    if "clip" in name and (cfg := get_pretrained_cfg(name)).hf_hub_id
}
EVA_LICENCES = {get_pretrained_cfg(name).license for name in timm.list_pretrained("eva*_clip_*")}


def test_licences_are_those_that_timm_says():
    shared = {tag: LICENSED[origin] for tag in WEIGHTS if (origin := (WEIGHTS[tag].origin or "").removeprefix("hf:")) in LICENSED}
    assert len(shared) > 10
    assert {tag: WEIGHTS[tag].licence for tag in shared} == shared
    # EVA-CLIP's are in repositories of their own: the same weights, in half precision and with their texts
    assert {WEIGHTS[tag].licence for tag in WEIGHTS if tag.startswith("clip_eva")} == EVA_LICENCES


# Networks drawn at random

TRUNKS = [  # names of timm's, how they pool there, and how open_clip may project what comes
    ("vit_base_patch16_siglip_224", "map", ("none", "linear")),
    ("vit_base_patch32_siglip_256", "map", ("none", "linear")),
    ("vit_base_patch16_siglip_gap_224", "avg", ("none", "linear", None)),
    ("vit_medium_patch16_reg4_gap_256", "avg", ("none", "linear", None)),
    ("vit_base_patch16_224", "token", ("none", "linear", None)),
    ("vit_base_patch16_clip_quickgelu_224", "token", (None,)),
    ("vit_base_patch16_224", "avg", ("none", "linear", None)),
]
EVAS = [
    ("eva_giant_patch14_224", "token", ("none", "linear", None)),
    ("eva_giant_patch14_clip_224", "avg", ("none", "linear", None)),
    ("eva02_base_patch16_clip_224", "token", ("none", "linear", None)),
    ("eva02_enormous_patch14_clip_224", "token", ("none", "linear", None)),
    ("eva02_small_patch14_336", "avg", ("none", "linear", None)),
    ("eva02_large_patch14_448", "token", (None,)),
]


def draw(seed: int, trunks: list[tuple] = TRUNKS) -> tuple[dict[str, Any], dict[str, Any]]:
    """An open_clip_config.json, and the sizes of timm's tower if it has one: every switch that we know, thrown at random."""
    rng = random.Random(seed)
    maybe = lambda share=0.5: rng.random() < share  # noqa: E731
    patch, heads, side = rng.choice([2, 4, 7]), rng.randint(2, 4), rng.choice([8, 10, 12])
    size, embed, trunk = patch * rng.randint(2, 4) + rng.randrange(patch), rng.choice([12, 16, 20]), {}
    ratio = lambda: rng.choice([2.0, 4.0, 4.9231, 3.7362, rng.uniform(1, 5)])  # noqa: E731
    if seed % 2:
        name, pool, projections = trunks[seed // 2 % len(trunks)]
        row = variants.TIMM[name]
        side = 4 * rng.randint(1, 3) if row.rotary else side
        trunk = {"img_size": size, "patch_size": patch, "embed_dim": heads * side, "depth": rng.randint(1, 3), "num_heads": heads}
        trunk["mlp_ratio"] = 2.0
        projection = rng.choice(projections)
        embed = heads * side if projection == "none" else embed
        vision = {"timm_model_name": name, "timm_pool": pool, "timm_proj": projection, "image_size": size}
        late = (
            TIMM_POOLS[pool] != row.pool
        )  # where only a layer of its own gives the place of the norm, we write none with a bias
        vision |= {"timm_proj_bias": maybe()} if projection == "linear" and not late else {}
    else:
        vision = {"image_size": size, "patch_size": patch, "width": heads * side, "head_width": side, "layers": rng.randint(1, 3)}
        vision |= {
            "mlp_ratio": ratio(),
            "ls_init_value": rng.choice([None, 1e-5]),
            "no_ln_pre": maybe(),
            "final_ln_after_pool": maybe(),
        }
        vision |= {"pool_type": rng.choice(["tok", "avg"]), "image_size": rng.choice([size, [size, size + patch]])}
        vision |= {"norm_kwargs": {"eps": rng.choice([1e-6, 1e-4])}} if maybe() else {}
    quick = maybe()
    text = {
        "context_length": rng.randint(8, 12),
        "vocab_size": 60,
        "heads": heads,
        "width": heads * side,
        "layers": rng.randint(1, 3),
    }
    text |= {
        "mlp_ratio": ratio(),
        "ls_init_value": rng.choice([None, 1e-5]),
        "no_causal_mask": maybe(),
        "eos_id": rng.choice([2, 40]),
    }
    text |= {"pool_type": rng.choice(["argmax", "eos", "last"]), "norm_kwargs": {"eps": rng.choice([1e-6, 1e-5])}}
    text |= {"act_kwargs": {"approximate": "tanh"}} if maybe() and not quick else {}
    if embed == heads * side and maybe():
        text["proj_type"] = "none"
    else:
        text["proj_bias"] = maybe()
    model = {"embed_dim": embed, "vision_cfg": vision, "text_cfg": text, "quick_gelu": quick, "nonscalar_logit_scale": maybe()}
    model |= {"init_logit_bias": -10} if maybe() else {}
    model |= {"custom_text": True} if maybe() else {}
    colours = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": rng.choice(["bicubic", "bilinear"])}
    return {"model_cfg": model, "preprocess_cfg": colours | {"resize_mode": rng.choice(["shortest", "squash"])}}, trunk


@pytest.mark.parametrize("seed", range(24))
def test_any_network_there_and_back(seed, tmp_path, monkeypatch):
    there_and_back(*draw(seed), tmp_path, monkeypatch)


@pytest.mark.parametrize("seed", range(1, 36, 2))
def test_any_eva_there_and_back(seed, tmp_path, monkeypatch):
    there_and_back(*draw(seed, EVAS), tmp_path, monkeypatch)


def there_and_back(config: dict[str, Any], trunk: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if trunk:
        name = config["model_cfg"]["vision_cfg"]["timm_model_name"]
        ours = {"image": trunk["img_size"], "patch": trunk["patch_size"], "width": trunk["embed_dim"], "depth": trunk["depth"]}
        ours |= {"heads": trunk["num_heads"], "mlp": 2 * trunk["embed_dim"]}
        monkeypatch.setitem(variants.TIMM, name, replace(variants.TIMM[name], **ours))
    with small_trunks(**trunk):
        model = build(config)
        theirs, back = tmp_path / "theirs", tmp_path / "ours"
        theirs.mkdir()
        (theirs / OPEN_CLIP_CONFIG).write_text(json.dumps(config))
        save_file(model.state_dict(), theirs / "open_clip_model.safetensors")
        size = config["model_cfg"]["vision_cfg"]["image_size"]
        x, ids = uniform("input", (2, *np.broadcast_to(size, 2), 3)) / 8, texts(model.context_length, 60)
        stages = run(model, x, ids)
        clip = vitjax.load(theirs)
        assert set(stages) == set(clip.stages(x, ids))
        assert_numbers(clip, {"input": x, "ids": ids} | {f"stage/{name}": stage for name, stage in stages.items()})

        export(*convert(theirs), back, "open_clip")
        logging.disable(logging.CRITICAL)
        again = open_clip.create_model(f"local-dir:{back}").eval()
        logging.disable(logging.NOTSET)
        for name, stage in run(again, x, ids).items():
            np.testing.assert_array_equal(stage, stages[name], name)  # the same network, not only the same tensors
        wanted = {"mode": "RGB", "size": again.visual.image_size, "fill_color": 0} | config["preprocess_cfg"]
        made = again.visual.preprocess_cfg
        if wanted["resize_mode"] == "shortest" and isinstance(size, list):
            wanted["interpolation"] = "bicubic"  # so it is in fact: image_transform
        assert made == wanted

        if isinstance(size, int):  # it resamples from squares only
            patch = clip.config.image.patch
            other = (int(size) + 2 * patch, int(size) - patch)
            x = uniform("input", (2, *other, 3)) / 8
            stages = run(resized(model, config, other), x, ids)
            names = ("image/tokens", "image_features", "logits_per_image")
            reference = {"input": x, "ids": ids} | {f"stage/{name}": stages[name] for name in names}
            assert_stages(vitjax.load(theirs, image=other), reference)


def test_a_published_siglip_there_and_back(tmp_path):
    """timm's tower by its own name, at its own size."""
    vision = settings("ViT-B-32-SigLIP2-256")["model_cfg"] | {"text_cfg": TEXT | {"proj_bias": True, "width": 32, "heads": 4}}
    config = {"model_cfg": vision, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}}
    model = build(config)
    (tmp_path / OPEN_CLIP_CONFIG).write_text(json.dumps(config))
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    x, ids = uniform("input", (1, 256, 256, 3)), texts(9, 60)
    reference = {"input": x, "ids": ids} | {f"stage/{name}": stage for name, stage in run(model, x, ids).items()}
    assert_stages(vitjax.load(tmp_path), reference)


WORDS = ["astronaut", "cat", "cup of coffee", "temple", "flower"]


@pytest.mark.parametrize("name", ["eva_giant_patch14_224", "eva02_base_patch16_clip_224", "eva02_enormous_patch14_clip_224"])
def test_zero_shot_is_open_clips(name, tmp_path, monkeypatch):
    """Photographs and words through its own pictures, tokenizer and network, all of them as its example does it."""
    model = eva(name)
    model["text_cfg"] = TEXT | {"context_length": 77, "vocab_size": 49408}
    config = {"model_cfg": model, "preprocess_cfg": {}}
    small = dict(image=16, patch=4, width=24, depth=2, heads=3, mlp=48)
    monkeypatch.setitem(variants.TIMM, name, replace(variants.TIMM[name], **small))
    with small_trunks():
        network = build(config)
    (tmp_path / OPEN_CLIP_CONFIG).write_text(json.dumps(config))
    save_file(network.state_dict(), tmp_path / "open_clip_model.safetensors")
    paths = [photograph(name) for name in PHOTOGRAPHS[:6]]
    pictures = torch.stack([open_clip.image_transform(16, is_train=False)(Image.open(path).convert("RGB")) for path in paths])
    texts = open_clip.tokenizer.SimpleTokenizer()([f"a photo of a {word}." for word in WORDS])
    with torch.inference_mode():
        images, labels = network.encode_image(pictures, normalize=True), network.encode_text(texts, normalize=True)
        wanted = (network.logit_scale.exp() * images @ labels.T).softmax(-1).numpy()
    assert np.ptp(wanted, axis=1).min() > 0.01  # else anything would be as good
    vocabulary = Path(open_clip.tokenizer.default_bpe())
    clip = vitjax.load(tmp_path, tokenizer=vocabulary)
    for path, row, found in zip(paths, wanted, clip.zero_shot(paths, WORDS, ["a photo of a {}."]), strict=True):
        assert [label for label, _ in found] == [WORDS[i] for i in np.argsort(-row)], path
        np.testing.assert_allclose([dict(found)[word] for word in WORDS], row, atol=1e-5)


# OpenAI's archives


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
def test_a_traced_archive_of_half_precision(tmp_path):
    """As OpenAI has made its own: half precision but for norms and embeddings, sizes as buffers."""
    towers = {
        "vision_cfg": VISION | {"width": 64, "head_width": 64, "mlp_ratio": 4.0},
        "text_cfg": TEXT | {"width": 64, "heads": 1},
    }
    config = {"model_cfg": {"embed_dim": 12, "quick_gelu": True} | towers, "preprocess_cfg": {}}
    model, file = build(config, precision="fp16"), tmp_path / "ViT.pt"
    for name, value in {"input_resolution": 16, "context_length": 9, "vocab_size": 60}.items():
        model.__dict__.pop(name, None)
        model.register_buffer(name, torch.tensor(value))
    x, ids = uniform("input", (2, 16, 16, 3)) / 8, texts(9, 60)
    pixels, words = torch.from_numpy(x).permute(0, 3, 1, 2).half(), torch.from_numpy(ids)
    methods = {"forward": (pixels, words), "encode_image": (pixels,), "encode_text": (words,)}
    with torch.no_grad():
        torch.jit.save(torch.jit.trace_module(model, methods), file)

    rounded, state = build(config), {k: t for k, t in torch.jit.load(file).state_dict().items() if k not in (*SIZES, "attn_mask")}
    assert {tensor.dtype for tensor in state.values()} == {torch.float16, torch.float32}
    rounded.load_state_dict(state)
    reference = {"input": x, "ids": ids} | {f"stage/{name}": stage for name, stage in run(rounded, x, ids).items()}
    network = read(config).config
    assert recognise(vitjax.converters.files.read(file)).name == "openai"
    assert_numbers(vitjax.load(file, config=network), reference)
    for tower, kind, features in ("image", "input", "image_features"), ("text", "ids", "text_features"):
        alone = vitjax.load(file, config=network, tower=tower)
        assert_stages(alone, {kind: reference[kind], "stage/logits": reference[f"stage/{features}"]})
    found, params = convert(file, config=network, dtype="keep")
    exported = export(found, params, tmp_path / "back.safetensors", "openai")
    torch.save(load_state_dict(str(exported)), tmp_path / "back.pt")  # its loader wants a PyTorch file
    again = open_clip.load_openai_model(str(tmp_path / "back.pt"), precision="fp32")
    assert all(torch.equal(again.state_dict()[key], tensor.float()) for key, tensor in state.items())


# Pictures. open_clip makes a picture RGB after it has resized it, we do before, as timm. RGB and grey pictures are the same.
# Others are not: Pillow resizes palettes and single bits without mixing neighbours, and weighs colours by their alpha.

PHOTOGRAPHS = ["astronaut.png", "chelsea.png", "coffee.png", "china.jpg", "flower.jpg", "rocket.jpg", "camera.png", "moon.png"]


def any_pictures(rng: random.Random) -> tuple[dict[str, Any], Any]:
    side = lambda: rng.randint(1, 64)  # noqa: E731
    colours: dict[str, Any] = rng.choice([{}, {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}])
    how = {"resize_mode": rng.choice(["shortest", "squash"]), "interpolation": rng.choice(["bicubic", "bilinear", "random"])}
    return colours | how, rng.choice([side(), [side(), side()], 224])


def same(image: Image.Image, cfg: dict[str, Any], size: Any) -> None:
    model = {"embed_dim": 12, "vision_cfg": VISION | {"image_size": size, "patch_size": 1}, "text_cfg": TEXT}
    ours = preprocess(image, read({"model_cfg": model, "preprocess_cfg": cfg}).preprocess)[0]
    theirs = open_clip.image_transform(size, is_train=False, **cfg)(image)
    np.testing.assert_array_equal(ours, theirs.permute(1, 2, 0).numpy(), f"{image.size} {cfg} {size}")


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_are_the_same(name):
    rng = random.Random(name)
    with Image.open(photograph(name)) as file:
        image = file.copy()
    assert image.mode in ("RGB", "L")
    for _ in range(12):
        same(image, *any_pictures(rng))


def test_small_pictures_are_the_same():
    rng = random.Random(0)
    for _ in range(1000):
        width, height = rng.randint(1, 20), rng.randint(1, 20)
        image = Image.frombytes("RGB", (width, height), rng.randbytes(3 * width * height))
        cfg, size = any_pictures(rng)
        try:
            same(image, cfg, size)
        except Error as error:  # too narrow for us
            assert "less narrow" in str(error)


@pytest.mark.parametrize("name", ROWS)
def test_published_pictures_are_the_same(name):
    with Image.open(photograph("china.jpg")) as file:
        image = file.convert("RGB")
    for tag, cfg in _PRETRAINED.get(name, {}).items():
        ours = spec(f"{ROWS[name]}.{tag}")
        keys = ("mean", "std", "interpolation", "resize_mode")
        theirs = open_clip.image_transform(ours.config.image.image, is_train=False, **{key: cfg[key] for key in keys})(image)
        np.testing.assert_array_equal(preprocess(image, ours.preprocess)[0], theirs.permute(1, 2, 0).numpy())
