"""Where cycles go, from a compiled program's text to the tables; compiling itself is in tests/tpu."""

from pathlib import Path

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
    f"product transpose(jvp(ViT))/{BLOCK}/attn/out/bnhd,hdc->bnc/dot_general": "qkv and out products",
    f"product {BLOCK}/mlp/down/bnm,mc->bnc/dot_general": "MLP products, with activation",
    f"product {BLOCK}/attn/bhnd,de->bhne/dot_general": "softmax and the rest of attention",  # rotary positions
    "fusion jit(update)/optimizer/mul": "optimizer",
    "product jit(apply)/ViT/head/bc,ck->bk/dot_general": "patches, head and the rest",
}


@pytest.mark.parametrize("name", NAMES)
def test_groups(name):
    assert [group for group, cycles in tpu.groups({name: 3}).items() if cycles] == [NAMES[name]]  # type: ignore[arg-type]


def test_tables():
    """The best batch of those that fit, and shares that are all of it."""
    one = tpu.Row("v5e", "eva_giant_patch14_224", "inference", 8, True, 2.0, 100, tpu.groups({"copy x": 60, "": 40}), 240.0, 0.6)  # type: ignore[arg-type]
    two = tpu.Row("v5e", "eva_giant_patch14_224", "inference", 16, True, 3.0, 100, tpu.groups({"copy x": 100}), 250.0, 0.7)  # type: ignore[arg-type]
    none = tpu.Row("v5e", "eva_giant_patch14_224", "train", 8, False)
    text = tpu.tables([one, two, none])
    assert "| v5e | eva_giant_patch14_224 | 16 | 250 | 0.70 | 3.0 |" in text and "0.60" not in text
    assert "| v5e | eva_giant_patch14_224 | 8 | does not fit |  |  |" in text
    assert text.count("the compiler's estimate") == 2 and "100%" in text


def test_what_is_published():
    """The results in the repository are of every network, and each row's cycles are those of its groups."""
    rows = [tpu.Row(**row) for row in tpu.read(tpu.RESULTS)]
    assert {row.model for row in rows} == set(tpu.BATCHES) and {row.chip for row in rows} == set(tpu.CHIPS)
    assert all(sum((row.groups or {}).values()) == row.cycles for row in rows)
    best = {row.model: max(r.mfu for r in rows if (r.chip, r.mode, r.model) == ("v5e", "inference", row.model)) for row in rows}
    assert best["vit_large_patch14_clip_224"] > 0.55 and best["vit_base_patch16_384"] > 0.45
    assert Path(tpu.RESULTS).read_text().startswith('{\n "what": "the TPU compiler\'s estimate')
