"""benchmarks/throughput measures a tiny network here, without torch; what it says of it, not how fast it was."""

import json

import jax
import pytest

from benchmarks.throughput import clock, report
from benchmarks.throughput.__main__ import main
from benchmarks.throughput.measure import Job, measure
from vitjax import flops, variants

TINY = "vit_pico_patch4_32"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What the command writes of two networks, of which one does not exist."""
    out = tmp_path_factory.mktemp("throughput") / "tiny.json"
    words = ["--models", TINY, "no_such_network", "--dtype", "bfloat16", "--what", "inference", "--batch", "2"]
    assert main([*words, "--rounds", "2", "--side", "64", "--out", str(out)]) == 0
    return json.loads(out.read_text())


def test_rows(run):
    row, other = run["rows"]
    assert (row["model"], row["dtype"], row["what"], row["batch"]) == (TINY, "bfloat16", "inference", 2)
    assert row["memory GB"] > 0 and row["first call s"] > 0 and row["from the cache s"] > 0 and 0.999 < row["cosine"] < 1.0001
    times = row["seconds"]["vitjax"]
    assert len(times) == 2 and row["per second"]["vitjax"] == pytest.approx(2 / (sum(times) / 2))
    assert other["model"] == "no_such_network" and "no_such_network" in other["error"]


def test_training():
    """Here, in float32: three times the arithmetic of the network for a picture."""
    before = jax.config.jax_compilation_cache_dir
    with jax.numpy_dtype_promotion("standard"):  # optax divides by its own step count, which strict promotion refuses
        _, row = measure(Job(TINY, "float32", "train", (2,), rounds=1, side=64))
    assert "error" not in row, row["error"]
    assert "cosine" not in row
    spec = variants.spec(TINY)
    assert row["TFLOP/s"]["vitjax"] / row["per second"]["vitjax"] * 1e12 == pytest.approx(3 * flops.forward(spec.config))
    assert jax.config.jax_compilation_cache_dir == before


def test_the_table_has_every_row_or_its_reason(run):
    text = report.table(run)
    assert text.count(f"| {TINY} |") == 1 and "no_such_network" in text
    assert "jax product bfloat16" in text and "jax copies" in text and run["facts"]["versions"]["jax"] in text


def test_bars(run, tmp_path):
    assert not report.picture(run, tmp_path / "bars.png")  # nobody to compare with
    row = {"model": TINY, "dtype": "float32", "what": "inference", "batch": 2}
    row |= {"per second": {"vitjax": 3.0, "eager": 2.0}, "ours / theirs": {"eager": 1.5}}
    assert report.picture({"facts": run["facts"], "rows": [row]}, tmp_path / "bars.png")
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")


def test_the_best_batch_is_where_doubling_stops():
    rates = {2: 10.0, 4: 15.0, 8: 15.1, 16: 99.0}
    assert clock.best(rates.__getitem__, 2, 16) == (8, "8 is not faster")
    assert clock.best(rates.__getitem__, 2, 4) == (4, "4 is the last that is tried")

    def ends(batch: int) -> float:
        if batch > 2:
            raise RuntimeError("RESOURCE_EXHAUSTED: 9 GB are not there")
        return 1.0

    assert clock.best(ends, 2, 16) == (2, "4: out of memory: RESOURCE_EXHAUSTED: 9 GB are not there")
    with pytest.raises(RuntimeError, match="RESOURCE"):
        clock.best(ends, 4, 16)


def test_time_over_is_a_row(capsys):
    assert main(["--models", TINY, "--minutes", "0"]) == 1
    assert "the time is over" in capsys.readouterr().out
