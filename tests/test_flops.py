"""The operations of a network are those of the products in it, each of which JAX can be asked for."""

import math
from dataclasses import replace

import jax
import pytest
from jax.extend.core import ClosedJaxpr

from vitjax import CLIPConfig, TextConfig, ViTConfig, flops, variants
from vitjax.model import abstract, build, inputs

VIT = ViTConfig((16, 24), 4, 24, 3, 4, 40, classes=10)
TEXT = TextConfig(9, 50, 24, 3, 4, 40, 12)
NETWORKS = {
    "token": VIT,
    "gated": replace(VIT, gated=True, mlp_norm=True),
    "registers": replace(VIT, registers=2, pool="mean", pool_prefix=True),
    "map": replace(VIT, pool="map", cls=False),
    "map of all": replace(VIT, pool="map", pool_prefix=True, classes=0),
    "representation": replace(VIT, representation=14, pool="token_mean"),
    "distilled": replace(VIT, registers=1, distilled=True),
    "text": TEXT,
    "text map": replace(TEXT, pool="map", causal=False),
    "clip": CLIPConfig(replace(VIT, classes=12), TEXT),
}


def products(jaxpr, times: int = 1) -> int:
    """The operations of all products with a weight or of attention, in loops as often as these turn, on whatever platform."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (left, _), (batch, _) = equation.params["dimension_numbers"]
            a, b = (operand.aval.shape for operand in equation.invars)
            contracted = math.prod(a[i] for i in left)
            total += 2 * math.prod(a) * math.prod(b) // contracted // math.prod(a[i] for i in batch)
        inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
        if inner is not None:
            inner = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
            total += equation.params.get("length", 1) * products(inner)
        if found := {products(branch.jaxpr) for branch in equation.params.get("branches", ())}:  # a platform's, all alike
            (one,) = found
            total += one
    return times * total


@pytest.mark.parametrize("name", NETWORKS)
def test_all_products_are_counted(name):
    config = NETWORKS[name]
    found = jax.make_jaxpr(lambda params, *x: build(config).apply({"params": params}, *x))(abstract(config), *inputs(config))
    compared = 2 * config.classes if isinstance(config, CLIPConfig) else 0
    assert products(found.jaxpr) == flops.forward(config) + compared


@pytest.mark.parametrize(("name", "published"), [("eva_giant_patch14_224", 267.18), ("vit_large_patch16_224", 61.60)])
def test_as_published(name, published):
    """In timm's results are G multiplications, those of norms among them."""
    assert flops.forward(variants.VARIANTS[name]) == pytest.approx(2e9 * published, rel=1e-3)
