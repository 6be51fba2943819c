"""Who attends where: a GPU is pretended, and programs are made for it, not run; what cuDNN would compute, XLA computes here."""

import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo as jax_cudnn

import vitjax
from tests.test_clip import CONFIG, SIGLIP
from vitjax import CLIP, Error, Spec, ViTConfig, attention
from vitjax.model import abstract, build, inputs

CPU, CUDA, TPU = ("cpu",), ("cuda",), ("tpu",)
FORWARD, BACKWARD = "__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"  # with a bias these are called ...ScaleBias...
ODD = ViTConfig(20, 4, 32, 3, 2, 48, classes=5, pool="map")  # 26 tokens; with a register 27


def pretend(patch: pytest.MonkeyPatch, *capabilities: tuple[int, int], cudnn: int | None = 91100) -> None:
    """JAX looks for cuDNN when it traces, and for the card only when it runs."""
    patch.setattr(attention, "_capabilities", lambda: list(capabilities))
    patch.setattr(jax_cudnn, "cuda_versions", cudnn and SimpleNamespace(cudnn_get_version=lambda: cudnn))
    attention._refused.cache_clear()


@pytest.fixture
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch
    attention._refused.cache_clear()


@pytest.fixture
def gpu(patch):
    pretend(patch, (9, 0), (8, 0))


def calls(function, x, platform=CUDA) -> list[str]:
    """What a program calls that is no part of it, by name."""
    lowered = jax.jit(function).trace(*x).lower(lowering_platforms=platform)
    return re.findall(r"@(__cudnn\$\w+)", lowered.as_text())


def loss(run, *x):
    return run(*x).astype(jnp.float32).sum()


def like(config):
    return (abstract(config), *inputs(config))


def same(*shape: int, dtype=jnp.bfloat16):
    return [jax.ShapeDtypeStruct(shape, dtype)] * 3


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("option", ["auto", "cudnn"])
@pytest.mark.parametrize(("tokens", "width"), [(197, 64), (257, 88), (577, 64), (577, 88), (256, 80)])
def test_cudnn_takes_any_number_of_tokens(tokens, width, option: attention.Option):
    run = partial(attention.attend, option=option)
    for dtype in jnp.bfloat16, jnp.float16:
        qkv = same(2, tokens, 3, width, dtype=dtype)
        assert calls(run, qkv) == [FORWARD]
        assert calls(jax.grad(partial(loss, run), (0, 1, 2)), qkv) == [FORWARD, BACKWARD]


@pytest.mark.usefixtures("gpu")
def test_texts_are_causal_by_themselves():
    def run(q, k, v):
        return attention.attend(q, k, v, True, "auto")

    qkv = same(2, 77, 3, 64)
    text = jax.jit(run).trace(*qkv).lower(lowering_platforms=CUDA).as_text()
    assert "CAUSAL" in text and "dot_general" not in text and "x77x77x" not in text  # no mask
    assert calls(jax.grad(partial(loss, run)), qkv) == [FORWARD, BACKWARD]


@pytest.mark.usefixtures("gpu")
def test_elsewhere_it_is_products():
    """In float32, where "xla" is asked for, and for the CPU or a TPU of a machine with a GPU."""
    cases: list[tuple[Any, attention.Option, Any]] = [(jnp.float32, "auto", CUDA), (jnp.bfloat16, "xla", CUDA)]
    for dtype, option, platform in [*cases, (jnp.bfloat16, "auto", CPU), (jnp.bfloat16, "auto", TPU)]:
        run, qkv = partial(attention.attend, option=option), same(2, 197, 3, 64, dtype=dtype)
        assert calls(run, qkv, platform) == calls(jax.grad(partial(loss, run)), qkv, platform) == []
        text = jax.jit(run).trace(*qkv).lower(lowering_platforms=platform).as_text()
        assert text.count("dot_general") == 2


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("registers", [0, 1])
@pytest.mark.parametrize("remat", ["none", "dots", "blocks"])
def test_a_network_calls_it_once_a_block(registers, remat):
    """All blocks are one loop. What pools has one query, and needs no kernel."""
    config = replace(ODD, registers=registers)
    module = build(config, "bfloat16", remat)

    def run(params, x):
        return module.apply({"params": params}, x)

    assert calls(run, like(config)) == [FORWARD]
    again = [FORWARD] * (remat != "none")
    assert sorted(calls(jax.grad(partial(loss, run)), like(config))) == [FORWARD, *again, BACKWARD]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("config", "dtype", "count"), [(CONFIG, "bfloat16", 2), (SIGLIP, "bfloat16", 1), (CONFIG, "float32", 0)])
def test_each_tower_by_itself(config, dtype, count):
    """SIGLIP's texts have heads of 10."""
    module = build(config, dtype)
    assert calls(lambda params, *x: module.apply({"params": params}, *x)[0], like(config)) == [FORWARD] * count


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("tokens", [6, 7])
def test_what_it_is_given_and_what_is_cut_off(patch, tokens, causal):
    """XLA in cuDNN's place: with the token that is added for a gradient, and without, it is the same attention."""
    patch.setattr(jax.nn, "dot_product_attention", replaced := Replaced())
    *qkv, slope = np.random.default_rng(0).standard_normal((4, 2, tokens, 3, 8)).astype("f4")

    @partial(jax.jit, static_argnums=0)
    def everything(run, *qkv):
        out, back = jax.vjp(partial(run, causal=causal), *qkv)
        return run(*qkv, causal), out, *back(slope)

    for ours, theirs in zip(everything(attention._flash, *qkv), everything(attention._attend, *qkv), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    added = tokens % 2
    assert replaced.seen == [("cudnn", tokens + added, bool(added)), ("cudnn", tokens, False)]


class Replaced:
    """jax.nn.dot_product_attention, by XLA whatever was asked for; what was asked for is kept."""

    def __init__(self):
        self.seen, self.real = [], jax.nn.dot_product_attention

    def __call__(self, q, *others, implementation, **how):
        self.seen.append((implementation, q.shape[1], how["query_seq_lengths"] is not None))
        return self.real(q, *others, implementation="xla", **how)


@pytest.mark.usefixtures("gpu")
def test_what_a_platform_does_not_need_is_not_kept():
    """JAX adds to what is kept for the gradient what the other platforms would need; the compiler takes it out again."""

    def program(option):
        def run(q, k, v):  # a loop, as blocks are one
            return jax.lax.scan(lambda q, _: (attention.attend(q, k, v, option=option), None), q, length=2)[0]

        return jax.jit(jax.grad(partial(loss, run), (0, 1, 2))).lower(*same(2, 37, 3, 8))

    both, one = program("auto"), program("xla")
    assert "x38x" in both.as_text() and "x38x" not in one.as_text()  # cuDNN's, even in a program for a CPU
    sizes = [lowered.compile().memory_analysis() for lowered in (both, one)]
    assert sizes[0] and sizes[1] and sizes[0].temp_size_in_bytes == sizes[1].temp_size_in_bytes


CHOICES = {
    "no GPU": ([], 91100, "bfloat16", 64, "sees no NVIDIA GPU"),
    "an old one": ([(9, 0), (7, 5)], 91100, "bfloat16", 64, "compute capability 7.5, flash attention needs 8.0"),
    "no cuDNN": ([(9, 0)], None, "bfloat16", 72, "JAX says: cuDNN is not detected"),
    "float32": ([(9, 0)], 91100, "float32", 64, "not for float32"),
    "narrow heads": ([(9, 0)], 91100, "float16", 36, "a multiple of 8, but got 36"),
    "wide heads": ([(8, 9)], 91100, "bfloat16", 136, "must be <= 128"),
}


@pytest.mark.parametrize(("capabilities", "cudnn", "dtype", "width", "why"), CHOICES.values(), ids=CHOICES)
def test_where_cudnn_cannot_run(patch, capabilities, cudnn, dtype, width, why):
    pretend(patch, *capabilities, cudnn=cudnn)
    found = attention.choose("auto", dtype, width)
    assert found.kernel == "xla" and why in found.why
    with pytest.raises(Error, match=r'attention="cudnn" cannot run here: .*Leave it out') as error:
        attention.choose("cudnn", dtype, width)
    assert why in str(error.value)
    qkv = same(1, 8, 1, width, dtype=jnp.dtype(dtype))
    with pytest.raises(Error, match="cannot run here"):
        jax.eval_shape(partial(attention.attend, option="cudnn"), *qkv)
    assert calls(partial(attention.attend, option="auto"), qkv) == []


@pytest.mark.usefixtures("gpu")
def test_where_it_can():
    assert attention.choose("auto", "bfloat16", 88) == attention.choose("cudnn", jnp.bfloat16, 88)
    assert attention.choose("auto", "bfloat16", 88).kernel == "cudnn"
    assert attention.choose("xla", "bfloat16", 88) == ("xla", "it was asked for")


def test_no_other_word():
    with pytest.raises(Error, match="one of auto, xla, cudnn, not 'flash'"):
        attention.choose("flash", "bfloat16", 64)


def test_it_is_an_option_of_the_model(patch):
    name = "vit_pico_patch4_32.digits"
    for ask in vitjax.load, vitjax.create:
        with pytest.raises(Error, match="cannot run here: JAX sees no NVIDIA GPU"):
            ask(name, dtype="bfloat16", attention="cudnn")
        model = ask(name, attention="xla")
        assert (model.attention, model.module.attention) == ("xla", "xla")
        assert jax.tree.map(lambda leaf: leaf, model).attention == "xla"
    pretend(patch, (8, 0))
    assert vitjax.load(name, dtype="bfloat16").attention_kernel == ("cudnn", "bfloat16 on an NVIDIA GPU")
    with pytest.raises(Error, match="not for float32"):
        vitjax.load(name, attention="cudnn")


def test_it_is_an_option_of_both_towers():
    model = CLIP(Spec("two", CONFIG), {"image": {}, "text": {}}, attention="xla")
    assert model.module.attention == model.image.module.attention == model.text.module.attention == "xla"
    assert model.image.attention_kernel == model.text.attention_kernel == ("xla", "it was asked for")
