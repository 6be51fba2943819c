"""Where cycles go, from a compiled program's text to the tables; compiling itself is in tests/tpu."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tpu
from vitjax.train import hlo

BLOCK = "jit(apply)/ViT/ViT.forward_features/while/body/blocks/blocks.add"
# As the TPU compiler writes it, with a kernel of Pallas
PROGRAM = (Path(__file__).parent / "fixtures" / "block.hlo").read_text()


def test_cycles_by_what_they_are_for():
    """A fusion with a product in it counts as that; what nobody estimates is told."""
    work = hlo.work(PROGRAM)
    assert work.cycles == sum(work.spent.values()) == 84 and work.uncounted == {"tpu_custom_call": 1}
    found = {group: cycles for group, cycles in tpu.groups(work.spent).items() if cycles}
    assert found == {"attention products, with softmax": 70, "copies and transpositions": 5, "norms and the rest of blocks": 9}


NAMES = {
    f"product {BLOCK}/attn/query/bnc,chd->bnhd/dot_general": "qkv and out products",
    f"product transpose(jvp(ViT))/{BLOCK}/attn/out/bnhk,hkc->bnc/dot_general": "qkv and out products",
    f"product {BLOCK}/mlp/down/bnm,mc->bnc/dot_general": "MLP products, with activation",
    f"product {BLOCK}/attn/bnhd,de->bnhe/dot_general": "softmax and the rest of attention",  # rotary positions
    "fusion jit(update)/optimizer/mul": "optimizer",
    "fusion jit(update)/jit(_where)/select_n": "optimizer",
    "convert jit(update)/gradients/jvp()/convert_element_type": "patches, head and the rest",
    "product jit(apply)/ViT/head/bc,ck->bk/dot_general": "patches, head and the rest",
}


@pytest.mark.parametrize("name", NAMES)
def test_groups(name):
    assert [group for group, cycles in tpu.groups({name: 3}).items() if cycles] == [NAMES[name]]  # type: ignore[arg-type]


def row(chip: str, model: str, mode: str, batch: int, cycles: dict[str, int] | None = None, mfu: float = 0.0) -> tpu.Row:
    if cycles is None:
        return tpu.Row(chip, model, mode, batch, False)
    return tpu.Row(chip, model, mode, batch, True, 3.0, sum(cycles.values()), tpu.groups(Counter(cycles)), 250.0, mfu)


def test_tables():
    """The best batch of those that fit, what a plain product makes of the same chip, and shares that are all of it."""
    text = tpu.tables(
        [
            row("v5e", "product_4096", "inference", 4096, {"product dot": 1}, 0.8),
            row("v5e", "eva_giant_patch14_224", "inference", 8, {"copy x": 60, "": 40}, 0.5),
            row("v5e", "eva_giant_patch14_224", "inference", 16, {"copy x": 100}, 0.6),
            row("v5e", "eva_giant_patch14_224", "train", 8),
        ]
    )
    assert "| v5e | product_4096 | 4096 | 250 | 0.80 | 1.00 | 3.0 |" in text
    assert "| v5e | eva_giant_patch14_224 | 16 | 250 | 0.60 | 0.75 | 3.0 |" in text and "0.50" not in text
    assert "| v5e | eva_giant_patch14_224 | 8 | does not fit |  |  |  |" in text
    assert text.count("the compiler's estimate") == 2 and "100%" in text


@pytest.fixture
def compiled(monkeypatch) -> list[tpu.Task]:
    """The tasks that were compiled, by nobody."""
    done: list[tpu.Task] = []

    def estimate(*task: Any) -> tpu.Row:
        done.append(task)
        if task[3] == 32:
            raise KeyboardInterrupt
        return row(*task, cycles={"copy x": 100})

    monkeypatch.setattr(tpu, "ProcessPoolExecutor", lambda processes, context: ThreadPoolExecutor(processes))
    monkeypatch.setattr(tpu, "estimate", estimate)
    monkeypatch.setattr(tpu, "version", "{} 1".format)
    return done


def test_a_run_that_was_cut_off_goes_on(compiled, tmp_path, monkeypatch):
    """What is there is not compiled again, unless that is asked for, or it is of another version, or of no task any more."""
    wanted = tpu.tasks(["vit_large_patch16_224"], ["v5e"], ["inference"])
    assert [batch for *_, batch in wanted] == [8, 16, 32]
    with pytest.raises(KeyboardInterrupt):
        tpu.compile_all(wanted, tmp_path / "rows.json", 1)
    assert compiled == wanted and [row["batch"] for row in tpu.read(tmp_path / "rows.json")] == [8, 16]

    def goes_on(again: bool = False) -> list[int]:
        compiled.clear()
        tpu.compile_all(wanted[:2], tmp_path / "rows.json", 1, again)
        return [batch for *_, batch in compiled]

    assert goes_on() == [] and goes_on(again=True) == [8, 16]
    monkeypatch.setattr(tpu, "version", "{} 2".format)
    assert goes_on() == [8, 16]
    monkeypatch.setitem(tpu.BATCHES, "vit_large_patch16_224", ((4, 8), ()))
    wanted[1:1] = [("v5e", "vit_large_patch16_224", "inference", 4)]
    assert goes_on() == [4] and [row["batch"] for row in tpu.read(tmp_path / "rows.json")] == [4, 8]


def test_what_is_published():
    """Every row that `make tpu` makes, of one version of the compiler; each row's cycles are those of its groups."""
    rows = [tpu.Row(**row) for row in tpu.read(tpu.RESULTS)]
    assert [(row.chip, row.model, row.mode, row.batch) for row in rows] == tpu.tasks(tpu.BATCHES, tpu.CHIPS, tpu.MODES)
    assert all(sum((row.groups or {}).values()) == row.cycles for row in rows)
    best = {row.model: max(r.mfu for r in rows if (r.chip, r.mode, r.model) == ("v5e", "inference", row.model)) for row in rows}
    assert best["vit_large_patch14_clip_224"] > 0.55 and best["vit_base_patch16_384"] > 0.45
    assert Path(tpu.RESULTS).read_text().startswith('{\n "what": "the TPU compiler\'s estimate')
