"""Where tokens look: what the maps say is what timm's attention did, whatever the network's switches."""

import jax
import numpy as np
import pytest

from tests.test_clip import CONFIG, made
from tests.test_parity import assert_close, published, under  # noqa: F401
from vitjax import Error, Model, load

# One network for each way to a query and a key: as they are, normed, turned, without biases, norms after the branches.
FAMILIES = [f"timm_{name}" for name in ("plain", "norms", "eva02_packed", "eva02_clip", "so150m2", "rpn")]


def norm(x: np.ndarray, params: dict, eps: float) -> np.ndarray:
    """LayerNorm in float64."""
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * params["scale"] + params["bias"]


def mixed(model: Model, maps: np.ndarray, x: np.ndarray, block: int) -> np.ndarray:
    """What a block's attention makes of its tokens, given where they look."""
    cfg = model.config
    params = jax.tree.map(lambda leaf: np.asarray(leaf[block], np.float64), model.params["blocks"])
    attn = params["attn"]
    x = x if cfg.norm_post else norm(x, params["norm1"], cfg.eps)
    v = np.einsum("bnc,chd->bnhd", x, attn["value"]["kernel"]) + attn["value"].get("bias", 0)
    y = np.einsum("bhnm,bmhd->bnhd", maps, v)
    if cfg.attn_norm:
        y = norm(y.reshape(x.shape), attn["norm"], cfg.eps).reshape(y.shape)
    return np.einsum("bnhd,hdc->bnc", y, attn["out"]["kernel"]) + attn["out"].get("bias", 0)


@pytest.mark.parametrize("published", FAMILIES, indirect=True)
def test_what_tokens_take_by_them_is_timms(published):  # noqa: F811
    folder, reference = published
    model, stage = load(folder), under("stage/", reference)
    maps = np.asarray(model.attention_maps(reference["input"]))
    cfg, (rows, columns) = model.config, model.config.grid
    count = cfg.prefix + rows * columns
    assert maps.shape == (cfg.depth, len(reference["input"]), cfg.heads, count, count) and maps.dtype == np.float32
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-6)
    for block in range(cfg.depth):
        before = stage[f"block_{block - 1:02}"] if block else stage["embed"]
        ours = mixed(model, np.float64(maps[block]), np.float64(before), block)
        assert_close(np.float32(ours), stage[f"block_{block:02}/attn"])


def test_some_blocks():
    model, x = made(CONFIG).image, np.zeros((1, 16, 16, 3), np.float32)
    maps = model.attention_maps(x)
    np.testing.assert_array_equal(model.attention_maps(x, blocks=[-1, 0]), maps[::-1])
    with pytest.raises(Error, match=r"blocks \[2\] are not in a network of 2 blocks"):
        model.attention_maps(x, blocks=[2])


def test_a_text_looks_back_only():
    model = made(CONFIG).text
    maps = np.asarray(model.attention_maps(np.arange(18, dtype=np.int32).reshape(2, 9)))
    assert maps.shape == (2, 2, 3, 9, 9)
    assert not np.triu(maps, 1).any() and np.tril(maps).sum(-1) == pytest.approx(1, abs=1e-6)


def test_in_half_precision_the_softmax_is_whole():
    model = made(CONFIG).image
    half = Model(model.spec, jax.tree.map(lambda leaf: leaf.astype("bfloat16"), model.params), "bfloat16")
    x = jax.random.normal(jax.random.key(0), (1, 16, 16, 3))
    maps = half.attention_maps(x)
    assert maps.dtype == np.float32 and np.abs(maps - model.attention_maps(x)).max() < 0.05
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-6)
