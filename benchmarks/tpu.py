"""Inference and a training step on one TPU chip, as the TPU compiler sees them; it needs no TPU: `make tpu`.

Every figure is the compiler's estimate, which is what `python -m vitjax.train --plan` adds up, too: cycles of everything that
XLA compiled, loops as often as they turn. Nothing has been run. Weights and pictures that come from a chip's memory are
expected beside the rest, and are not in it; the program fails where a kernel is not XLA's, for nobody estimates that one's.
MFU is the FLOP that the network needs (vitjax/flops.py), by those the chip could do in the time. PRODUCTS say how much of that
a product reaches by itself, by the same estimate. What is compiled already is not compiled again: a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import groupby, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "tpu_estimates.json"
CHIPS = {"v5e": "v5e-1", "v5p": "v5p-8", "v6e": "v6e-1"}  # chip -> the smallest slice that has one
MODES = "inference", "train"
Task = tuple[str, str, str, int]  # chip, model, mode, batch: of them, one compilation makes one row
CLIP = "clip_vit_large_patch14_224"
# Name -> K: rows ("images" of the tables) of that width by a K x 4096 matrix, and nothing else. 1024 is ViT-L's way up to its MLP
PRODUCTS = {"product_4096": 4096, "product_1024": 1024}
# network -> pictures (or texts) a chip that are tried: for inference, and for a training step
BATCHES = {
    **dict.fromkeys(PRODUCTS, ((4096,), ())),
    "vit_base_patch16_384": ((4, 8, 16), (16,)),
    "vit_large_patch14_clip_224": ((8, 16, 32), (16,)),
    "vit_large_patch16_224": ((8, 16, 32), (16,)),
    "eva_giant_patch14_224": ((8, 16, 32), (8,)),
    "eva02_large_patch14_448": ((1, 2, 4), (4,)),
    CLIP: ((64, 128, 256), (16,)),  # for inference its text tower; it learns with both
}
# Group -> what is in it, of hlo.Work.spent: the first that matches. XLA makes one program of several operations; where one of
# them is a product, it counts as this.
GROUPS = {
    "attention products, with softmax": r"^product .*/attn/.*\bb\w{3},b\w{3}->b\w{3}/",
    "qkv and out products": r"^product .*/attn/(query|key|value|out)/",
    "MLP products, with activation": r"^product .*/mlp/(up|gate|down)/",
    "copies and transpositions": r"^(copy|transpose|slice|pad|concatenate|reshape|dynamic\S*) ",
    "softmax and the rest of attention": r"/attn/",
    "optimizer": r" jit\(update\)/(?!gradients/)",  # in a fusion around it; and the norm of the gradients
    "norms and the rest of blocks": r"/blocks",
    "patches, head and the rest": "",
}


@dataclass(frozen=True)
class Row:
    """What the compiler says of a network on one chip, with one batch."""

    chip: str
    model: str
    mode: str  # "inference" or "train"
    batch: int
    fits: bool
    memory: float = 0  # GiB of the chip's, at its worst moment
    cycles: int = 0  # of a run: the compiler's estimate
    groups: dict[str, int] | None = None  # the same, by GROUPS
    rate: float = 0  # pictures or texts a second
    mfu: float = 0


def estimate(chip: str, model: str, mode: str, batch: int) -> Row:
    """One compilation. Called in a process of its own: the TPU compiler serves one at a time."""
    import jax

    from vitjax import hardware
    from vitjax.train import hlo, slices

    device = slices.devices(CHIPS[chip])[0]
    compiled = _product if model in PRODUCTS else _inference if mode == "inference" else _train
    found, needed = compiled(model, batch, device)
    if found is None:
        return Row(chip, model, mode, batch, fits=False)
    memory, work = found
    assert isinstance(work, hlo.Work) and not work.uncounted, f"{model}: nobody estimates {dict(work.uncounted)}"
    seconds, peak = work.cycles / slices.CHIPS[chip].clock / 1e9, hardware.peak(device.device_kind)
    assert peak is not None
    jax.clear_caches()
    return Row(
        chip,
        model,
        mode,
        batch,
        True,
        round(memory, 3),
        work.cycles,
        groups(work.spent),
        batch / seconds,
        needed / seconds / peak,
    )


def _product(model: str, batch: int, device: Any) -> tuple[tuple[float, Any], float]:
    """One of PRODUCTS in bfloat16: the program, and its FLOP."""
    import jax
    import jax.numpy as jnp

    here, k, n = jax.sharding.SingleDeviceSharding(device), PRODUCTS[model], 4096
    sides = (jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=here) for shape in ((batch, k), (k, n)))
    return _read(jax.jit(jnp.matmul).lower(*sides).compile()), 2.0 * batch * k * n


def _read(program: Any) -> tuple[float, Any]:
    """The memory in GiB and the hlo.Work of a program."""
    from vitjax.train import compiled, hlo

    return program.memory_analysis().peak_memory_in_bytes / compiled.GIB, hlo.work(program.as_text())


def _inference(model: str, batch: int, device: Any) -> tuple[tuple[float, Any], float]:
    """What `vitjax.load(..., dtype="bfloat16")` runs: parameters and inputs in bfloat16, logits or features out."""
    import jax
    import jax.numpy as jnp

    from vitjax import flops
    from vitjax.compute import apply
    from vitjax.config import CLIPConfig
    from vitjax.model import abstract, build, inputs
    from vitjax.train import network

    config = network.architecture(model).config
    config = config.text if isinstance(config, CLIPConfig) else config
    here = jax.sharding.SingleDeviceSharding(device)

    def like(leaf: Any, *shape: int) -> jax.ShapeDtypeStruct:
        dtype = jnp.bfloat16 if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.dtype
        return jax.ShapeDtypeStruct(shape or leaf.shape, dtype, sharding=here)

    x = [like(one, batch, *one.shape[1:]) for one in inputs(config)]
    lower: Any = apply.lower  # its type has not heard of static arguments
    program = lower(build(config, "bfloat16"), "__call__", jax.tree.map(like, abstract(config)), *x).compile()
    return _read(program), flops.forward(config) * batch


def _train(model: str, batch: int, device: Any) -> tuple[tuple[float, Any] | None, float]:
    """A step of AdamW with mean weights, all parameters learning, on a batch that one chip has by itself."""
    import jax

    from vitjax import flops, mesh
    from vitjax.train import compiled, recipe

    name, size = ("clip_contrastive", "") if model == CLIP else ("eva02_large_448", model.rpartition("_")[2])
    changes = [f"model={model}", f"batch={batch}", "remat=dots", "data=", *([f"image={size}"] if size else [])]
    what = recipe.read(name, changes)
    spec, _ = compiled.described(what)
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies its own step count by floats
        found = compiled.step(what, spec, mesh.make(1, [device]))
    needed = 3 * flops.forward(spec.config) * batch
    return (None if isinstance(found, compiled.Exceeds) else (found.memory, found.work)), needed


def groups(spent: Counter[str]) -> dict[str, int]:
    """Cycles by GROUPS, from hlo.Work.spent."""
    total = dict.fromkeys(GROUPS, 0)
    for name, cycles in spent.items():
        total[next(group for group, pattern in GROUPS.items() if re.search(pattern, name))] += cycles
    return total


def tables(rows: list[Row]) -> str:
    """Markdown: of each chip and mode the best batch of every network; then where the cycles of these go."""
    out, ceiling = [], {row.chip: row.mfu for row in rows if row.model == "product_4096"}
    for mode, unit in ("inference", "Inference, bfloat16"), ("train", "Training step (AdamW, remat=dots)"):
        best = [top for key, some in groupby(sorted(rows, key=_key), key=_key) if key[0] == mode and (top := _best(list(some)))]
        head = ["chip", "model", "batch per chip", "images/s", "MFU", "of product_4096's", "HBM GiB"]
        lines = [
            [r.chip, r.model, r.batch, f"{r.rate:,.0f}", f"{r.mfu:.2f}", f"{r.mfu / ceiling[r.chip]:.2f}", f"{r.memory:.1f}"]
            for r in best
            if r.fits
        ]
        lines += [[r.chip, r.model, r.batch, "does not fit", "", "", ""] for r in best if not r.fits]
        out += [f"{unit}: the compiler's estimate", _table(head, lines)]
        networks = [r for r in best if r.fits and r.model not in PRODUCTS]
        share = [[r.chip, r.model, *(f"{cycles / r.cycles:.0%}" for cycles in (r.groups or {}).values())] for r in networks]
        out += [f"{unit}: shares of the estimated cycles", _table(["chip", "model", *GROUPS], share)]
    return "\n\n".join(out) + "\n"


def _key(row: Row) -> tuple[str, int, int]:
    return row.mode, list(CHIPS).index(row.chip), list(BATCHES).index(row.model)


def _best(rows: list[Row]) -> Row:
    return max(rows, key=lambda row: row.mfu)


def _table(head: list[str], rows: list[list[Any]]) -> str:
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, ["---"] * len(head), *rows])


def tasks(models: Iterable[str], chips: Iterable[str], modes: Iterable[str]) -> list[Task]:
    return [
        (chip, model, mode, batch)
        for mode, chip, model in product(modes, chips, models)
        for batch in BATCHES[model][MODES.index(mode)]
    ]


def compile_all(wanted: list[Task], out: Path, processes: int | None = None, again: bool = False) -> None:
    """Rows of tasks, written as they come. Those that are there stay, if they are of the same versions, and still wanted."""
    known = tasks(BATCHES, CHIPS, MODES)
    versions = {name: version(name) for name in ("jax", "libtpu")}
    old = json.loads(out.read_text()) if out.exists() else {}
    rows = {_task(row): row for row in old.get("rows", ()) if old["versions"] == versions and _task(row) in known}
    missing = [task for task in wanted if again or task not in rows]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for row in pool.map(estimate, *zip(*missing, strict=True)):
            print(*_task(asdict(row)), f"MFU {row.mfu:.3f}, {row.memory:.2f} GiB" if row.fits else "does not fit", flush=True)
            rows[_task(asdict(row))] = asdict(row)
            in_order = sorted(rows.values(), key=lambda row: (_key(Row(**row)), row["batch"]))
            result = {"what": "the TPU compiler's estimate; nothing was run", "versions": versions, "rows": in_order}
            (part := out.with_suffix(".part")).write_text(json.dumps(result, indent=1) + "\n")
            part.replace(out)  # whole, whenever it is cut off


def read(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text())["rows"]


def _task(row: dict[str, Any]) -> Task:
    return row["chip"], row["model"], row["mode"], row["batch"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(BATCHES), help="which networks; all of them by default")
    parser.add_argument("--chips", nargs="+", choices=CHIPS, default=list(CHIPS))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--processes", type=int, help="how many compile at a time; as many as there are cores by default")
    parser.add_argument("--again", action="store_true", help="those, too, that are in --out already")
    parser.add_argument("--table", action="store_true", help="compile nothing: the tables of what is in --out")
    args = parser.parse_args()
    if not args.table:
        compile_all(tasks(args.models, args.chips, args.modes), args.out, args.processes, args.again)
    print(tables([Row(**row) for row in read(args.out)]))


if __name__ == "__main__":
    main()
