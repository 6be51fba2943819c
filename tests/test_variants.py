"""The tables agree with themselves, and a name finds its row or an error that helps."""

import subprocess
import sys
from dataclasses import replace
from fnmatch import fnmatchcase

import pytest

from vitjax import clip_weights
from vitjax.config import CLIPConfig, Error, Preprocess, Source, Spec, ViTConfig, image_size, spec_from_json, spec_to_json
from vitjax.variants import (
    CLIPS,
    REFUSED,
    VARIANTS,
    WEIGHTS,
    architecture_of,
    list_models,
    list_pretrained,
    parameters,
    resolve,
    spec,
)  # fmt: skip
from vitjax.weights import IMAGENET, REPORTED, labels, run

HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def test_listing_needs_no_jax():
    code = "import sys, vitjax.variants; assert not {'jax', 'numpy', 'flax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", VARIANTS)
def test_name_says_patch_and_image(name):
    words, row = name.split("_"), VARIANTS[name]
    tower = row.image if isinstance(row, CLIPConfig) else row
    patch = [int(word[5:]) for word in words if word.startswith("patch")]
    image = [int(word) for word in words if word.isdigit()]
    assert patch in ([tower.patch], []) and image in ([tower.image], [])


@pytest.mark.parametrize("name", WEIGHTS)
def test_checkpoint(name):
    row, published = WEIGHTS[name], spec(name)
    assert published.name == resolve(name) == name and ("." in name or row.architecture)
    architecture = VARIANTS[architecture_of(name)]
    if isinstance(architecture, CLIPConfig):
        towers = {tower: run(getattr(architecture, tower), row.runs) for tower in ("image", "text")}
        assert published.config == replace(architecture, **towers) and published.tokenize == row.tokenize is not None
    else:
        assert published.config == replace(architecture, classes=row.classes, **row.runs) and published.tokenize is None
        assert bool(published.labels) == (published.config.classes in IMAGENET or name.endswith(".digits"))
    assert published.preprocess.size == (row.size or image_size(published.config))
    assert published.source.reference


@pytest.mark.parametrize(
    "name", ["vit_base_patch16_384.augreg_in21k_ft_in1k", "vit_pico_patch4_32.digits", *clip_weights.WEIGHTS]
)
def test_spec_travels(name):
    assert spec_from_json(spec_to_json(spec(name)), name) == spec(name)


# What the model cards say.
@pytest.mark.parametrize(
    ("name", "millions", "image", "crop", "mean_std"),
    [
        ("vit_base_patch16_384.augreg_in21k_ft_in1k", 86.9, 384, 1.0, HALF),
        ("vit_large_patch14_clip_224.openai_ft_in12k_in1k", 304.2, 224, 1.0, CLIP),
        ("eva_large_patch14_336.in22k_ft_in22k_in1k", 304.53, 336, 1.0, CLIP),
        ("eva_large_patch14_196.in22k_ft_in1k", 304.14, 196, 1.0, CLIP),
    ],
)
def test_cards(name, millions, image, crop, mean_std):
    published = spec(name)
    fit = "squash" if image == 336 else "crop"
    assert published.preprocess == Preprocess(image, crop, fit, "bicubic", *mean_std)
    assert round(parameters(published.config) / 1e6, 2) == pytest.approx(millions, abs=0.05)
    assert published.config.classes == 1000 and published.labels[281] == "tabby, tabby cat"


# The table of timm's card of EVA: top-1, top-5, millions of parameters, and the size of pictures.
CARD = """
eva02_large_patch14_448.mim_m38m_ft_in22k_in1k   90.054  99.042  305.08  448
eva02_large_patch14_448.mim_in22k_ft_in22k_in1k  89.946  99.01   305.08  448
eva_giant_patch14_560.m30m_ft_in22k_in1k         89.792  98.992  1014.45 560
eva02_large_patch14_448.mim_in22k_ft_in1k        89.626  98.954  305.08  448
eva02_large_patch14_448.mim_m38m_ft_in1k         89.57   98.918  305.08  448
eva_giant_patch14_336.m30m_ft_in22k_in1k         89.56   98.956  1013.01 336
eva_giant_patch14_336.clip_ft_in1k               89.466  98.82   1013.01 336
eva_large_patch14_336.in22k_ft_in22k_in1k        89.214  98.854  304.53  336
eva_giant_patch14_224.clip_ft_in1k               88.882  98.678  1012.56 224
eva02_base_patch14_448.mim_in22k_ft_in22k_in1k   88.692  98.722  87.12   448
eva_large_patch14_336.in22k_ft_in1k              88.652  98.722  304.53  336
eva_large_patch14_196.in22k_ft_in22k_in1k        88.592  98.656  304.14  196
eva02_base_patch14_448.mim_in22k_ft_in1k         88.23   98.564  87.12   448
eva_large_patch14_196.in22k_ft_in1k              87.934  98.504  304.14  196
eva02_small_patch14_336.mim_in22k_ft_in1k        85.74   97.614  22.13   336
eva02_tiny_patch14_336.mim_in22k_ft_in1k         80.658  95.524  5.76    336
"""


def test_the_card_of_eva():
    rows = [line.split() for line in CARD.strip().splitlines()]
    assert {name: (float(top1), float(top5)) for name, top1, top5, *_ in rows} == REPORTED
    for name, _, _, millions, image in rows:
        assert f"{parameters(spec(name).config) / 1e6:.2f}" == millions, name
        assert spec(name).preprocess.size == int(image) and len(spec(name).labels) == 1000


def test_parameters_by_hand():
    config = ViTConfig(image=8, patch=4, width=2, depth=1, heads=1, mlp=3, classes=5)
    patch, cls, positions, norms = 3 * 16 * 2 + 2, 2, 5 * 2, 3 * 4
    attention, mlp, head = 4 * (4 + 2), (6 + 3) + (6 + 2), 10 + 5
    assert parameters(config) == patch + cls + positions + norms + attention + mlp + head
    assert parameters(replace(config, gated=True)) == parameters(config) + 6 + 3
    assert parameters(replace(config, qkv_bias="qv")) == parameters(config) - 2
    assert parameters(replace(config, positions="none", classes=0)) == parameters(config) - positions - head


@pytest.mark.parametrize(
    ("name", "count", "some"),
    [
        (
            "imagenet-1k",
            1000,
            {0: "tench, Tinca tinca", 281: "tabby, tabby cat", 999: "toilet tissue, toilet paper, bathroom tissue"},
        ),
        ("imagenet-12k", 11821, {0: "benthos", 9205: "farmhand, fieldhand, field hand, farm worker", 11820: "knothole"}),
        ("imagenet-22k", 21841, {0: "organism, being", 9205: "picture frame", 21840: "knothole"}),
        ("imagenet-21k-goog", 21843, {0: "organism, being", 9205: "picture, image, icon, ikon", 21842: "knothole"}),
        ("imagenet-21k-miil", 11221, {0: "benthos", 9205: "successor, heir", 11220: "knothole"}),
        ("digits", 10, {0: "0", 9: "9"}),
    ],
)
def test_labels(name, count, some):
    names = labels(name)
    assert len(names) == count and all(names)
    assert {index: names[index] for index in some} == some


def test_unknown_labels():
    assert labels("") == ()
    with pytest.raises(Error, match="imagenet-22k"):
        labels("imagenet-22")


@pytest.mark.parametrize("spelling", ["", "timm/", "hf_hub:timm/", "hf-hub:timm/", "hf:timm/"])
def test_publishers_spellings(spelling):
    assert resolve(f"{spelling}vit_base_patch16_384") == "vit_base_patch16_384.augreg_in21k_ft_in1k"
    assert resolve(f"{spelling}vit_base_patch16_384.augreg_in1k") == "vit_base_patch16_384.augreg_in1k"


def test_publishers_names():
    assert resolve("hf:google/vit-large-patch16-224") == resolve("google/vit-large-patch16-224") == "google/vit-large-patch16-224"
    published = spec("google/vit-large-patch16-224")
    row = replace(VARIANTS["vit_large_patch16_224"], classes=1000)
    assert published.config == replace(row, eps=1e-12, interpolation="cubic-pytorch")
    assert published.preprocess == Preprocess(224, 1.0, "squash", "bilinear", *HALF)
    assert published.source == Source(
        "huggingface", "hf:google/vit-large-patch16-224", licence="apache-2.0", reference="transformers 5.23.0"
    )
    assert published.name in list_pretrained("google") and published.name in list_pretrained("vit_large_patch16_224")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("ViT-L/14", "clip_vit_large_patch14_224.openai"),
        ("ViT-L/14@336px", "clip_vit_large_patch14_336.openai"),
        ("ViT-B-32", "clip_vit_base_patch32_224.openai"),
        ("ViT-B-32:laion2b_s34b_b79k", "clip_vit_base_patch32_224.laion2b_s34b_b79k"),
        ("ViT-H-14-378-quickgelu:dfn5b", "clip_vit_huge_patch14_378.dfn5b"),
        ("ViT-H-14-quickgelu", "clip_vit_huge_patch14_224.metaclip_fullcc"),
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "clip_vit_base_patch32_224.laion2b_s34b_b79k"),
        ("ViT-B-16-SigLIP2", "siglip2_vit_base_patch16_224.webli"),
    ],
)
def test_names_of_clips(theirs, ours):
    assert resolve(theirs) == ours


ACTIVATIONS = {  # what no tensor tells
    "clip_vit_base_patch32_224.openai": "quick_gelu",
    "clip_vit_base_patch32_224.laion400m_e32": "quick_gelu",
    "clip_vit_base_patch16_224.laion400m_e32": "gelu",
    "clip_vit_base_patch32_224.laion2b_s34b_b79k": "gelu",
    "clip_vit_large_patch14_224.dfn2b": "quick_gelu",
    "clip_vit_large_patch14_224.dfn2b_s39b": "gelu",
    "clip_vit_huge_patch14_224.metaclip_fullcc": "quick_gelu",
    "clip_vit_huge_patch14_224.metaclip_altogether": "gelu",
    "clip_vit_huge_patch14_worldwide_224.metaclip2_worldwide": "quick_gelu",
    "clip_vit_huge_patch14_worldwide_378.metaclip2_worldwide": "gelu",
    "openai/clip-vit-base-patch32": "quick_gelu",
    "google/siglip2-base-patch16-224": "gelu_tanh",
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_clips(name):
    config = spec(name).config
    assert config.image.act == config.text.act == ACTIVATIONS[name]


@pytest.mark.parametrize("name", CLIPS)
def test_both_towers_are_counted(name):
    row = CLIPS[name]
    assert parameters(row) == parameters(row.image) + parameters(row.text) + 1 + row.sigmoid


def test_clips_of_transformers():
    published = spec("google/siglip2-so400m-patch14-384")
    assert published.config.image.image == 384 and published.config.image.interpolation == "cubic-pytorch"
    assert {published.config.image.act, published.config.text.act} == {"gelu_tanh"} and published.config.text.eps == 1e-6
    assert (
        resolve("openai/clip-vit-large-patch14") == resolve("hf:openai/clip-vit-large-patch14") == "openai/clip-vit-large-patch14"
    )


def test_architecture_alone():
    assert spec("vit_base_patch16_384") == Spec("vit_base_patch16_384", VARIANTS["vit_base_patch16_384"], Preprocess(384))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("vit_base_patch16_38", "closest are: vit_base_patch16_384, "),
        ("vit_base_patch16_38.augreg_in1k", "closest are: vit_base_patch16_384, "),
        ("vit_base_patch16_384.augreg", "closest are: vit_base_patch16_384.augreg_in1k, vit_base_patch16_384."),
        ("google/vit-large-patch16-22", "closest are: google/vit-large-patch16-224, "),
        ("vit_giant_patch14_224", "has no published weights"),
        ("vit_giant_patch14_224.untrained", "has no published weights"),
        ("timm/deit_tiny_distilled_patch16_224.fb_in1k", "known to its publisher, not here: it has a second class token"),
        ("aimv2_large_patch14_224", "RMSNorm"),
        ("vit_base_patch16_dinov3", "between -1 and 1"),
        ("vit_medium_patch16_rope_reg1_gap_256", "no row yet"),
        ("vit_small_patch16_rope_mixed_224", "ROPE-ViT's"),
        ("eva02_enormous_patch14_clip_224.pretrain", "closest are: eva02_enormous_patch14_clip_224.laion2b"),
        ("RN50:openai", "its image tower is a ResNet"),
        ("coca_ViT-L-14", "writes texts"),
        ("ViT-B-33:openai", "unknown"),
    ],
)
def test_errors_help(name, says):
    with pytest.raises(Error) as error:
        resolve(name)
    assert says in str(error.value)


@pytest.mark.parametrize("pattern", REFUSED)
def test_refused_is_not_here(pattern):
    assert not any(fnmatchcase(name, pattern) for name in VARIANTS)


def test_patterns():
    assert list_models() == list(VARIANTS) and list_pretrained() == list(WEIGHTS)
    assert list_models("deit_tiny") == ["deit_tiny_patch16_224"]
    assert list_models("vit_*_patch16_384") == [f"vit_{size}_patch16_384" for size in ("tiny", "small", "base", "large")]
    assert list_pretrained("vit_tiny_patch16_???") == list_pretrained("vit_tiny") == list_pretrained("vit_tiny*.augreg*")
    assert list_pretrained("openai_ft_in12k") == [name for name in WEIGHTS if "openai_ft_in12k" in name]
    assert list_models("no such thing") == []
