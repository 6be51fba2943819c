"""One step of training, and the next, as PyTorch makes them: loss, gradients, and what AdamW, SGD and Lion do with them."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file
from safetensors.torch import save_file
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.optim.lamb import Lamb
from timm.optim.lion import Lion

import vitjax
from tests.recipe import uniform
from tests.training import conditions  # noqa: F401
from vitjax import Preprocess, ViTConfig, mesh
from vitjax.converters import export
from vitjax.train import Recipe
from vitjax.train.augment import augment
from vitjax.train.step import Batch, Task, _gradient, begin, update
from vitjax.vit_variants import eva02sub

SIZE, CLASSES, DEPTH = 32, 7, 3
SEEN = {"label_smoothing": 0.1, "mixup": 0.8, "cutmix": 1.0}
RECIPES = {
    "adamw": {"learning_rate": 1e-3, "weight_decay": 0.05, "layer_decay": 0.7, **SEEN},
    "adamw, clipped, in parts": {"learning_rate": 1e-3, "weight_decay": 0.3, "clip": 0.5, "accumulate": 4, **SEEN},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 1e-3, "layer_decay": 0.9, "clip": 1.0},
    "lion": {"optimizer": "lion", "learning_rate": 1e-3, "weight_decay": 0.1, "beta2": 0.99},
    "lamb": {"optimizer": "lamb", "learning_rate": 1e-3, "weight_decay": 0.05, "epsilon": 1e-6},
    "sigmoid": {"loss": "sigmoid", "learning_rate": 1e-3, **SEEN},
}
NETWORKS = {
    "vit": (
        ViTConfig(SIZE, 8, 24, DEPTH, 3, 40, CLASSES),
        lambda: VisionTransformer(
            img_size=SIZE, patch_size=8, embed_dim=24, depth=DEPTH, num_heads=3, mlp_ratio=40.5 / 24, num_classes=CLASSES
        ),
    ),
    "eva02": (
        eva02sub(SIZE, 8, 24, DEPTH, 3, 40, CLASSES),
        lambda: Eva(
            img_size=SIZE, patch_size=8, embed_dim=24, depth=DEPTH, num_heads=3, mlp_ratio=40.5 / 24, num_classes=CLASSES,
            qkv_fused=False, swiglu_mlp=True, scale_mlp=True, use_rot_pos_emb=True, ref_feat_shape=(16, 16),
        ),
    ),
}  # fmt: skip


def rate_of(name: str, decay: float) -> float:
    """BEiT's: the layers before the blocks count as one, those behind them as one."""
    if found := re.match(r"blocks\.(\d+)\.", name):
        return decay ** (DEPTH - int(found[1]))
    return decay ** (DEPTH + 1) if name.startswith(("patch_embed", "cls_token", "pos_embed")) else 1.0


def theirs(recipe: Recipe, model: torch.nn.Module) -> torch.optim.Optimizer:
    groups = [
        {
            "params": [p],
            "lr": recipe.learning_rate * rate_of(name, recipe.layer_decay),
            "weight_decay": recipe.weight_decay if name.endswith("weight") and p.ndim > 1 else 0.0,
        }
        for name, p in model.named_parameters()
    ]
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, lr=0.0, momentum=recipe.beta1)
        case "lion":
            return Lion(groups, lr=1.0, betas=(recipe.beta1, recipe.beta2))
        case "lamb":
            betas = recipe.beta1, recipe.beta2
            return Lamb(groups, lr=1.0, betas=betas, eps=recipe.epsilon, max_grad_norm=None)
        case _:
            return torch.optim.AdamW(groups, lr=0.0, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon)


def loss_of(recipe: Recipe, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if recipe.loss == "sigmoid":
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
    return torch.nn.functional.cross_entropy(logits, targets)


def in_their_words(spec, tree, folder: Path) -> dict[str, np.ndarray]:
    """A tree of parameters, or of gradients, by the names that timm has for them."""
    export(spec, tree, folder / "out.safetensors", "timm")
    return load_file(folder / "out.safetensors")


# LAMB trusts a tensor as a whole: timm's EVA-02 has the same as we, its ViT one for query, key and value
PAIRS = [(network, name) for network in NETWORKS for name in RECIPES if (network, name) != ("vit", "lamb")]


@pytest.mark.parametrize(("network", "row"), PAIRS)
def test_two_steps_as_pytorch(network, row, tmp_path):
    (config, make), keys = NETWORKS[network], RECIPES[row]
    model = make().train()
    state = {name: torch.from_numpy(uniform(name, tuple(p.shape)) / np.float32(4)) for name, p in model.state_dict().items()}
    model.load_state_dict(state)
    save_file(state, tmp_path / "in.safetensors")
    ours = vitjax.load(tmp_path / "in.safetensors", config=config)
    recipe = Recipe("x", "x", "x", batch=8, steps=10, dtype="float32", flip=0, **keys)
    task = Task(recipe, config, Preprocess(SIZE), 10, 0, mesh.make(1))
    at, optimizer = begin(task, ours.params), theirs(recipe, model)
    # AdamW and Lion divide by the size of a gradient: where that is rounding error, as of a key's bias, which softmax does not
    # see, their step is it, too. Held to PyTorch's is every number of which both gradients are well above it.
    clear = {name: np.ones(p.shape, bool) for name, p in model.named_parameters()}
    rng = np.random.default_rng(0)
    for step in range(2):
        image, label = rng.integers(0, 256, (8, SIZE, SIZE, 3), np.uint8), rng.integers(0, CLASSES, 8, np.int32)
        batch = Batch(jax.numpy.asarray(image), jax.numpy.asarray(label))
        key = jax.random.fold_in(jax.random.key(recipe.seed), step)
        x, y = augment(recipe, task.preprocess, jax.random.split(key)[0], batch.image, batch.label, CLASSES)
        optimizer.zero_grad()
        loss = loss_of(recipe, model(torch.from_numpy(np.array(x).transpose(0, 3, 1, 2).copy())), torch.from_numpy(np.array(y)))
        loss.backward()
        _, gradient = _gradient(task, {}, at.learned, batch, key)
        found = in_their_words(ours.spec, gradient, tmp_path)
        for name, p in model.named_parameters():
            assert_close(found[name], p.grad.numpy(), f"gradient of {name}")
            clear[name] &= (np.abs(found[name]) > 1e-3 * np.abs(found[name]).max()) | (recipe.optimizer == "sgd")
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        for group in optimizer.param_groups:
            group.setdefault("full", group["lr"])
            group["lr"] = group["full"] * (1 + np.cos(np.pi * step / 10)) / 2
        optimizer.step()
        at, metrics = update(task, {}, at, batch)
        assert float(metrics.loss) == pytest.approx(loss.item(), rel=1e-5)
    found = in_their_words(ours.spec, at.learned, tmp_path)
    for name, p in model.named_parameters():
        assert_close(found[name] * clear[name], p.detach().numpy() * clear[name], name)
    assert np.mean(np.concatenate([part.ravel() for part in clear.values()])) > 0.75
    assert set(flatten_dict(at.learned, sep="/")) == set(flatten_dict(ours.params, sep="/"))


def assert_close(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    scale = max(np.abs(theirs).max(), 1e-3)
    assert np.abs(ours - theirs).max() <= 1e-5 * scale, f"{what}: {np.abs(ours - theirs).max() / scale:.1e}"
