"""The recipes in the package: each can be read and begun, says how and how well, and holds what was published; and the README."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from vitjax.config import CLIPConfig, ViTConfig
from vitjax.model import abstract
from vitjax.train.recipe import RECIPES, Recipe, read
from vitjax.variants import VARIANTS, WEIGHTS, architecture, architecture_of, resolve

README = (RECIPES.parent / "README.md").read_text()

# What the publications say, from the sources that the recipes name: every other key of a recipe is "ours".
# fmt: off
FINE = {"optimizer": "adamw", "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.05, "head_scale": 0.001}
SEEN = {"crop": (0.08, 1.0), "flip": 0.5, "randaugment": "rand-m9-mstd0.5-inc1", "mixup": 0, "cutmix": 0}
FT_CLIP = FINE | SEEN | {
    "batch": 2048, "epsilon": 1e-8, "last_learning_rate": 1e-6, "drop_path": 0, "ema": 0.9998, "erase": 0.25,
    "label_smoothing": 0.1, "pool": "mean", "train": ("cls", "positions", "norm_pre/*", "blocks/*", "norm/*", "head/*"),
}
EVA = FINE | SEEN | {"epochs": 20, "warmup": 2, "last_learning_rate": 0, "ema": 0.9999, "erase": 0}
PUBLISHED = {
    "augreg_vit_b16_384": {
        "image": 384, "crop_pct": 0.857,
        "steps": 20_000, "batch": 512, "warmup": 500, "head_scale": 0, "optimizer": "sgd", "learning_rate": 0.03,
        "beta1": 0.9, "momentum_dtype": "bfloat16", "weight_decay": 0, "clip": 1, "crop": (0.05, 1.0), "flip": 0.5,
    },
    "ft_clip_b16": FT_CLIP | {"epochs": 50, "warmup": 10, "learning_rate": 6e-4, "layer_decay": 0.6},
    "ft_clip_l14": FT_CLIP | {"epochs": 30, "warmup": 5, "learning_rate": 4e-4, "layer_decay": 0.65},
    "eva_giant_clip_in1k": EVA | {
        "batch": 1024, "learning_rate": 3e-5, "layer_decay": 0.9, "drop_path": 0.4, "label_smoothing": 0.3, "remat": "blocks",
        "pool": "mean", "crop_pct": 1,
    },
    "eva02_large_448": EVA | {
        "batch": 512, "learning_rate": 2e-5, "layer_decay": 0.85, "drop_path": 0.15, "label_smoothing": 0.2,
    },
    "linear_probe": {
        "train": ("head/*",), "epochs": 90, "batch": 16_000, "warmup": 10, "last_learning_rate": 0, "weight_decay": 0,
        "crop": (0.08, 1.0), "flip": 0.5, "label_smoothing": 0,
    },
    "clip_contrastive": {
        "pretrained": False, "loss": "contrastive", "epochs": 32, "batch": 32_768, "warmup": 0.16, "optimizer": "adamw",
        "learning_rate": 5e-4, "last_learning_rate": 0, "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-6, "weight_decay": 0.2,
        "crop": (0.9, 1.0), "flip": 0,
    },
    "lora": {
        "train": ("head/*",), "lora": ("*blocks/attn/query/kernel", "*blocks/attn/value/kernel"), "lora_rank": 16,
        "lora_alpha": 16, "epochs": 5, "batch": 512, "warmup": 0, "optimizer": "adamw", "learning_rate": 5e-3, "weight_decay": 0,
        "crop": (0.08, 1.0), "flip": 0.5,
    },
}
# fmt: on
NAMES = sorted(file.stem for file in RECIPES.glob("*.toml"))
PLACES = {"data", "model", "out"}


def text(name: str) -> str:
    return (RECIPES / f"{name}.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_first_comment_has_command_result_and_source(name):
    comment = re.match(r"(#.*\n)+", text(name))
    assert comment is not None
    command, overrides = re.search(rf"^#   python -m vitjax\.train ({name}) ?(.*)$", comment[0], re.M).groups()
    read(command, [word for word in overrides.split() if "=" in word])
    assert re.search(r"\d\d(\.\d+)? %", comment[0])
    assert name == "digits" or re.search(r"Published: .*\n?.*(arXiv:\d{4}\.\d{5}|github\.com/\S+)", comment[0])


@pytest.mark.parametrize("name", NAMES)
def test_model_is_known_and_what_learns_is_in_it(name):
    recipe = read(name)
    assert recipe.model in VARIANTS or resolve(recipe.model) in WEIGHTS
    config = architecture(recipe.model if recipe.model in VARIANTS else architecture_of(resolve(recipe.model)))
    assert isinstance(config, CLIPConfig if recipe.loss == "contrastive" else ViTConfig)
    top = {*abstract(config), "head"}  # those without a head are given one
    for pattern in recipe.train:
        assert pattern == "*" or pattern.partition("/")[0] in top
    if name.startswith("ft_clip"):
        assert top - {pattern.partition("/")[0] for pattern in recipe.train} == {"patch"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_facts(name):
    recipe, facts = read(name), PUBLISHED[name]
    assert {key: getattr(recipe, key) for key in facts} == facts
    for line in text(name).splitlines():
        key, equals, _ = line.partition(" = ")
        if equals and not key.startswith("#"):
            assert key in facts or key in PLACES or "# ours" in line, f"{key} is not published, and not marked"


def test_every_recipe_is_held_to_its_facts():
    assert set(NAMES) == {*PUBLISHED, "digits"}


def test_readme_names_every_key_and_every_recipe():
    table = re.findall(r"`([a-z0-9_]+)`", "\n".join(line for line in README.splitlines() if line.startswith("|")))
    assert {field.name for field in fields(Recipe)} <= set(table)
    assert set(NAMES) <= set(table)


def test_readme_commands_are_of_recipes_that_there_are():
    commands = re.findall(r"python -m vitjax\.train (\S+)((?: [a-z_0-9]+=[^\s\"']+)*)", README)
    assert len(commands) > 5
    for name, overrides in commands:
        if name not in ("RECIPE", "mine.toml"):
            read(name, overrides.split())


def test_readme_links():
    for link in re.findall(r"\]\(([^)#]+)", README):
        assert "://" in link or (Path(RECIPES).parent / link).exists(), link
