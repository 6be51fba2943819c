"""benchmarks/throughput beside timm and open_clip: small networks, the same weights; what is compared, not how fast it was."""

import jax
import pytest

from benchmarks.throughput.measure import Job, measure
from vitjax.verify import FULL


@pytest.mark.parametrize(("dtype", "what"), [("bfloat16", "inference"), ("float32", "train")])
def test_beside_timm(dtype, what):
    """Without torch.compile, which takes a minute to begin."""
    with jax.numpy_dtype_promotion("standard"):  # optax divides by its own step count, which strict promotion refuses
        _, row = measure(Job("test_vit", dtype, what, (2,), rounds=1, side=64, beside=("eager", "not-fused")))
    assert "error" not in row and "failed" not in row, row
    assert row["max|Δ| / scale"] < FULL
    assert set(row["ours / theirs"]) == ({"eager", "not-fused"} if what == "inference" else {"eager"})
    if dtype == "bfloat16":
        assert row["cosine"] > 0.999 and row["their cosine"] > 0.999
