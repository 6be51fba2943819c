"""Which device holds what: one mesh of devices, one rule that splits parameters over it, one table of what `tensor` splits.

Parameters and batch are split over the same devices. Not told what to move for a product of both, the compiler moves tokens:
of ViT-L/16 and 512 pictures on 16 chips of v5e 400 MB at a time, in place of 2 MB of a kernel. So the network says it: tokens
stay (`spread`), kernels come (`whole`). Without the latter it gathers them too, but multiplies piece by piece as they arrive,
which takes twice the cycles of everything, by its own estimate (561 million a step, 262 million so).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from .config import Error

DATA, TENSOR = "data", "tensor"  # the axes: over one a batch and parameters are split, over the other heads and hidden units

# The axis, from the end, that is split over `tensor`: heads, of what makes them and mixes them, and the MLP's hidden units.
# After each pair of such products the devices add up what they have, once.
# fmt: off
SPLIT = {
    "attn/query/kernel": -2,  # (C, heads, head width)
    "attn/key/kernel":   -2,
    "attn/value/kernel": -2,
    "attn/query/bias":   -2,  # (heads, head width)
    "attn/key/bias":     -2,
    "attn/value/bias":   -2,
    "attn/out/kernel":   -3,  # (heads, head width, C)
    "mlp/up/kernel":     -1,  # (C, hidden)
    "mlp/gate/kernel":   -1,
    "mlp/up/bias":       -1,
    "mlp/gate/bias":     -1,
    "mlp/norm/scale":    -1,
    "mlp/norm/bias":     -1,
    "mlp/down/kernel":   -2,  # (hidden, C)
}
# fmt: on


def make(tensor: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of all devices, of which each `tensor` neighbours work at the same pictures."""
    devices = jax.devices() if devices is None else list(devices)
    if tensor < 1 or len(devices) % tensor:
        raise Error(f"tensor = {tensor} must divide the number of devices, which is {len(devices)}")
    shape = len(devices) // tensor, tensor
    return jax.make_mesh(shape, (DATA, TENSOR), axis_types=(AxisType.Auto, AxisType.Auto), devices=devices)


def sharded(like: Any, mesh: Mesh, fsdp: bool = True) -> Any:
    """`like`, a tree of arrays or of their shapes, as ShapeDtypeStructs that say where each is: on a mesh of anyone's.

    Over an axis `tensor`, if there is one, what SPLIT names, by the end of its path: so a tree of parameters is split as its
    optimizer's moments are. Over the first other axis, with `fsdp`, the longest dimension that divides, but for that in which
    blocks are stacked, as these are worked at one after the other. Vectors (biases, norms, scales) are on each device whole: to
    split them saves 4 MB of ViT-L, and costs 360 messages a step.
    """
    mesh = Mesh(mesh.devices, mesh.axis_names)  # axes of type Auto: the compiler follows the parameters
    tensor = mesh.shape.get(TENSOR, 1)
    data = next((name for name in mesh.axis_names if name != TENSOR), None) if fsdp else None

    def place(path: tuple[Any, ...], leaf: Any) -> jax.ShapeDtypeStruct:
        names = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
        axes: list[str | None] = [None] * len(leaf.shape)
        split = SPLIT.get("/".join(names[-3:]))
        if split is not None and tensor > 1 and leaf.shape[split] % tensor == 0:
            axes[split] = TENSOR
        first = "blocks" in names
        if data is not None and len(axes) - first > 1 and names[-1] != "bias":
            free = [i for i in range(first, len(axes)) if axes[i] is None and leaf.shape[i] % mesh.shape[data] == 0]
            if free:
                axes[max(free, key=lambda i: leaf.shape[i])] = data
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, PartitionSpec(*axes)))

    return jax.tree_util.tree_map_with_path(place, like)


def spread(x: Array) -> Array:
    """x held to being split over `data` along its first axis, as the batch is; without such a mesh (jax.set_mesh) only x."""
    if DATA not in jax.sharding.get_abstract_mesh().auto_axes:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(DATA))


def whole(kernel: Array, split: Sequence[bool]) -> Array:
    """A kernel gathered from the devices of `data`; of axes that are `split` each has what the axis `tensor` leaves it."""
    mesh = jax.sharding.get_abstract_mesh()
    if DATA not in mesh.auto_axes:
        return kernel
    tensor = mesh.shape.get(TENSOR, 1)
    axes = [TENSOR if wanted and tensor > 1 and n % tensor == 0 else None for wanted, n in zip(split, kernel.shape, strict=True)]
    return jax.lax.with_sharding_constraint(kernel, PartitionSpec(*axes))
