"""Which attention runs where: cuDNN's flash attention on NVIDIA GPUs in 16 bits, elsewhere plain products that XLA compiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from .config import Error

Option = Literal["auto", "xla", "cudnn"]  # what one may ask for
# Of jaxlib 0.10: the logits of a head that its CPU kernels keep in their cache; of more they write all heads' to memory. From
# YNNPACK on, the same blocks take up to three times as long as the whole
LOGITS = 2**16 if jax.__version_info__ < (0, 11) else 2**62
BLOCKS = 32  # at most: each is compiled, and a second's compiling for 1,600 tokens buys a fifth of the time
CAPABILITY = 8, 0  # NVIDIA's Ampere, the first that cuDNN has flash attention for


class Choice(NamedTuple):
    """Which attention runs on this machine, and why."""

    kernel: Literal["xla", "cudnn"]
    why: str


def choose(option: str, dtype: DTypeLike, head_width: int) -> Choice:
    """What `option` comes to on this machine for heads of a width. Error: "cudnn" was asked for and cannot be had."""
    if option not in get_args(Option):
        raise Error(f"attention is one of {', '.join(get_args(Option))}, not {option!r}")
    if option == "xla":
        return Choice("xla", "it was asked for")
    why = _refused(jnp.dtype(dtype).name, head_width)
    if why is None:
        return Choice("cudnn", f"{jnp.dtype(dtype).name} on an NVIDIA GPU")
    if option == "cudnn":
        raise Error(f'attention="cudnn" cannot run here: {why}. Leave it out: "auto" takes cuDNN wherever it can run')
    return Choice("xla", why)


@cache
def _refused(dtype: str, head_width: int) -> str | None:
    """Why cuDNN cannot run here; None: it can. What is below a card's generation, JAX itself is asked."""
    if not (found := _capabilities()):
        return "JAX sees no NVIDIA GPU (to use one it needs jax[cuda13])"
    if min(found) < CAPABILITY:
        return f"the GPU has compute capability {'.'.join(map(str, min(found)))}, flash attention needs 8.0"
    if dtype not in ("float16", "bfloat16"):
        return f"cuDNN's flash attention is for float16 and bfloat16, not for {dtype}"
    like = jax.ShapeDtypeStruct((1, 1, 8, head_width), dtype)
    try:
        jax.eval_shape(_cudnn, like, like, like)
    except (NotImplementedError, RuntimeError, ValueError) as error:
        return f"JAX says: {str(error).rstrip('.')}"
    return None


def _capabilities() -> list[tuple[int, ...]]:
    """The compute capability of every NVIDIA GPU of this process."""
    try:
        devices = jax.local_devices(backend="cuda")
    except RuntimeError:  # there is no such platform, or it does not start
        return []
    return [tuple(map(int, device.compute_capability.split("."))) for device in devices]


def attend(
    q: Float[Array, "B N H D"],
    k: Float[Array, "B M H D"],
    v: Float[Array, "B M H D"],
    causal: bool = False,
    option: Option = "xla",
) -> Float[Array, "B N H D"]:
    """softmax(q k^T / sqrt(D)) v, the softmax in float32 whatever the inputs are. causal: a token sees those up to itself.

    Heads stay where the layers' products have them, and the two products here name them there: moved to the front beforehand,
    JAX 0.12 on a CPU multiplies bfloat16 as float32 (577 tokens of ViT-B: 4.5 ms a picture and block instead of 2.3, two cores).

    With "auto" a program has both, and takes what belongs to the platform that it is lowered for: a GPU's machine still lowers
    for its CPU, or ahead of time for a TPU. (Differentiated, each side seems to keep for the way back what the other one needs;
    XLA drops it.) Only a program for several platforms at once (jax.export) must ask for "xla". "cudnn" is cuDNN, or JAX's error.
    """
    flash, whole = partial(_flash, causal=causal), partial(_attend, causal=causal)
    cudnn = choose(option, q.dtype, q.shape[-1]).kernel == "cudnn"
    if cudnn and option == "cudnn":
        return flash(q, k, v)
    special: dict[str, Callable[..., Array]] = {"cuda": flash} if cudnn else {}
    if LOGITS < q.shape[1] * k.shape[1] <= BLOCKS * LOGITS:
        special["cpu"] = partial(_blocked, causal=causal)
    special["tpu"] = partial(_columns, causal=causal)
    return jax.lax.platform_dependent(q, k, v, **special, default=whole)


def _flash(q: Array, k: Array, v: Array, causal: bool) -> Array:
    """cuDNN's attention for any number of tokens, differentiable."""
    return _cudnn(q, k, v, causal) if q.shape[1] % 2 == k.shape[1] % 2 == 0 else _odd(q, k, v, causal)


def _cudnn(
    q: Array, k: Array, v: Array, causal: bool = False, lengths: tuple[Array | None, Array | None] = (None, None)
) -> Array:
    """No bias and no mask: either would be an array of N x M, and slow."""
    how: Any = {"query_seq_lengths": lengths[0], "key_value_seq_lengths": lengths[1], "implementation": "cudnn"}
    return jax.nn.dot_product_attention(q, k, v, is_causal=causal, **how)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _odd(q: Array, k: Array, v: Array, causal: bool) -> Array:
    """An odd number of tokens, of which JAX (up to 0.12) refuses the gradient.

    cuDNN has it, unless there is a bias; but JAX's check takes the empty array that it puts in place of none for one
    (check_is_flash_attention in jax/_src/cudnn/fused_attention_stablehlo.py). So where a gradient is wanted, and only there, a
    token is added that cuDNN is told to leave out.
    """
    return _cudnn(q, k, v, causal)


def _even(q: Array, k: Array, v: Array, causal: bool) -> Array:
    """The same through an even number of tokens."""

    def pad(x: Array) -> Array:
        return jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0)))

    def length(x: Array) -> Array:
        return jnp.full(len(x), x.shape[1], jnp.int32)

    return _cudnn(pad(q), pad(k), pad(v), causal, (length(q), length(k)))[:, : q.shape[1]]


_odd.defvjp(
    lambda q, k, v, causal: jax.vjp(partial(_even, causal=causal), q, k, v),  # the function that goes back is what is kept
    lambda causal, back, slope: back(slope),
)


def _blocked(q: Array, k: Array, v: Array, causal: bool) -> Array:
    """The same, for a few queries after the other."""
    count = -(-q.shape[1] // max(1, LOGITS // k.shape[1]))
    blocks, first, out = jnp.array_split(q, count, axis=1), 0, []
    for block in blocks:
        out.append(_attend(block, k, v, causal, first))
        first += block.shape[1]
    return jnp.concatenate(out, axis=1)


def _attend(q: Array, k: Array, v: Array, causal: bool, first: int = 0) -> Array:
    """Attention of queries of which the first is number `first`. The sum divides after the second product: N*D divisions."""
    logits = product("bnhd,bmhd->bhnm", q * q.shape[-1] ** -0.5, k)
    if causal:
        logits = jnp.where(jnp.tri(*logits.shape[-2:], k=first, dtype=bool)[None, None], logits, -jnp.inf)
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))  # the maximum cancels out
    total = weights.sum(-1, keepdims=True)
    return (product("bhnm,bmhd->bhnd", weights.astype(v.dtype), v) / total).astype(v.dtype).swapaxes(1, 2)


def product(equation: str, a: Array, b: Array) -> Array:
    """A product with float32 sums. Of 16 bits, its gradient multiplies 16 bits, too, as flash attention and other layers do.

    Left to JAX, that would be four products of float32 in full precision, because the sums' slopes are float32: on a TPU each
    takes six passes.
    """
    return _exact(equation, a, b) if a.dtype == jnp.float32 else _narrow(equation, a, b)


def _exact(equation: str, a: Array, b: Array) -> Array:
    # Products of 16 bits are exact at any precision; but only at the default one a TPU's compiler puts a softmax into them
    precision = "highest" if a.dtype == jnp.float32 else None
    return jnp.einsum(equation, a, b, precision=precision, preferred_element_type=jnp.float32)


_narrow = jax.custom_vjp(_exact, nondiff_argnums=(0,))


def _back(equation: str, kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    """The slopes of both sides of a product."""
    (a, b), (sides, out) = kept, equation.split("->")
    left, right = sides.split(",")
    slope = slope.astype(a.dtype)
    # Asked for float32 and then rounded they'd be the same numbers, but a CPU's XLA (JAX 0.10 to 0.12) has not all of these
    return jnp.einsum(f"{out},{right}->{left}", slope, b), jnp.einsum(f"{left},{out}->{right}", a, slope)


_narrow.defvjp(lambda equation, a, b: (_exact(equation, a, b), (a, b)), _back)


def _columns(q: Array, k: Array, v: Array, causal: bool) -> Array:
    """The same on a TPU, from k q^T: what is summed up for a query is a column.

    Of this product its compiler makes one with the softmax, and logits are nowhere in memory. Of `_attend`'s it does so for
    inference, too, but not in training: a step of ViT-L/14 with 16 pictures on v5e takes 231 million cycles with that, and 172
    with this, by its own estimate.
    """
    logits = product("bmhd,bnhd->bhmn", k, q * q.shape[-1] ** -0.5)
    if causal:
        seen = jnp.tri(q.shape[1], k.shape[1], dtype=bool).T
        logits = jnp.where(seen[None, None], logits, -jnp.inf)
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-2, keepdims=True)))
    total = weights.sum(-2)[..., None]
    return (product("bhmn,bhmd->bhnd", weights.astype(v.dtype), v.swapaxes(1, 2)) / total).astype(v.dtype).swapaxes(1, 2)
