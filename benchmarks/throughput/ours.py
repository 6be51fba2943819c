"""Our side: a network, what it is fed, and one step of its training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import vitjax
from vitjax import mesh as meshes
from vitjax.clip_model import TextModel
from vitjax.config import TextConfig, hw
from vitjax.model import Model
from vitjax.train.recipe import Recipe
from vitjax.train.step import Batch, Task, begin, update

from .clock import Run

Network = Model | TextModel
TEXT = "/text"  # after a CLIP's name: its text tower


def create(name: str) -> Network:
    """A network with random parameters."""
    return vitjax.create(name.removesuffix(TEXT)).text if name.endswith(TEXT) else vitjax.create(name)


def load(name: str, folder: str) -> Network:
    """The same with the weights of a folder that another library wrote."""
    return vitjax.load(folder).text if name.endswith(TEXT) else vitjax.load(folder)


def cast(network: Network, dtype: str) -> Network:
    """Parameters and computation in a dtype, as vitjax.load(..., dtype=...) has them."""
    return replace(network, params=jax.tree.map(lambda leaf: leaf.astype(dtype), network.params), dtype=dtype)


def inputs(network: Network, batch: int) -> np.ndarray:
    """Pictures (B, H, W, 3), or texts (B, context) of random words that end where texts end."""
    draw, cfg = np.random.default_rng(0), network.config
    if isinstance(cfg, TextConfig):
        ids = draw.integers(1, cfg.vocab - 2, (batch, cfg.context), np.int32)
        ids[:, -1] = cfg.vocab - 1
        return ids
    return draw.standard_normal((batch, *hw(cfg.image), 3)).astype(np.float32)


def features(network: Network, x: np.ndarray) -> np.ndarray:
    """What is compared between dtypes: pooled features, (B, F) float32."""
    out = network.embed(x) if isinstance(network, Model) else network(x)
    return np.asarray(out.astype(jnp.float32))


def inference(network: Network, batch: int) -> Run:
    """Logits (features of texts) of a batch that is on the device already."""
    x = jax.device_put(inputs(network, batch))

    def run(count: int) -> None:
        out = None
        for _ in range(count):
            out = network(x)
        jax.block_until_ready(out)

    return run


def inference_program(network: Network, batch: int) -> Any:
    x = jax.device_put(inputs(network, batch))
    whole: Callable[..., Any] = jax.jit(lambda network, x: network(x))
    return whole.lower(network, x).compile()


class Training:
    """Steps of vitjax.train on one device, on a batch that is there already, and on uint8 pictures as it has them."""

    def __init__(self, network: Model, dtype: str, batch: int) -> None:
        how: dict[str, Any] = {"dtype": dtype, "crop": (0.0, 0.0), "flip": 0.0, "weight_decay": 0.05}
        recipe = Recipe(data="none", model="none", out="none", batch=batch, steps=1000, learning_rate=1e-5, **how)
        self.mesh = meshes.make(devices=jax.devices()[:1])
        self.task = Task(recipe, network.config, network.spec.preprocess, 1000, 0, self.mesh)
        state = begin(self.task, jax.tree.map(jnp.copy, network.params))
        self.state = jax.device_put(state, self.task.places(state))
        draw = np.random.default_rng(0)
        images = draw.integers(0, 256, (batch, *hw(network.config.image), 3), np.uint8)
        labels = draw.integers(0, network.config.classes, batch, np.int32)
        place = NamedSharding(self.mesh, PartitionSpec(meshes.DATA))
        self.batch = jax.device_put(Batch(jnp.asarray(images), jnp.asarray(labels)), place)

    def __call__(self, count: int) -> None:
        with jax.set_mesh(self.mesh):
            for _ in range(count):
                self.state, _ = update(self.task, {}, self.state, self.batch)
            jax.block_until_ready(self.state)

    def program(self) -> Any:
        lower: Any = update.lower  # its type has not heard of static arguments
        with jax.set_mesh(self.mesh):
            return lower(self.task, {}, self.state, self.batch).compile()


def memory(program: Any) -> float | None:
    """The bytes that a program takes at once with what it is given, as its compiler counts them."""
    if (sizes := program.memory_analysis()) is None:
        return None
    return sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes - sizes.alias_size_in_bytes
