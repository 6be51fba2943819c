"""The `vitjax` command. JAX is imported by the commands that need it, so that --help and list answer at once."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, variants
from .config import Error, config_from_json, hw

if TYPE_CHECKING:
    from .model import Model

KEY = "which of a file's several sets of weights: model_ema, teacher.backbone, params/img; . for its top"
BATCH = 8  # pictures that are decoded and computed together


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. 0: done; 1: the work failed, with a one-line reason on stderr; 2: wrong usage."""
    args = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # half-written files are removed then, too
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs, with tracebacks, what is an Error here anyway
    ours = logging.getLogger("vitjax")
    ours.handlers = [logging.StreamHandler()]
    ours.setLevel(logging.INFO)
    ours.propagate = False  # or whoever set up the root logger says it again
    try:
        args.run(args)
    except BrokenPipeError:  # `vitjax list | head`: not a failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Exception, KeyboardInterrupt) as error:
        if args.debug:
            raise
        print(f"vitjax: {_reason(error)}", file=sys.stderr)
        return 1
    return 0


def _reason(error: BaseException) -> str:
    match error:
        case KeyboardInterrupt():
            return "interrupted; what was half-written is removed"
        case MemoryError():
            return "out of memory"
        case Error() | OSError():
            return str(error)
    return f"{type(error).__name__}: {error}. This is a bug of vitjax: please report it, with the output of --debug"


def _list(args: argparse.Namespace) -> None:
    rows = []
    for name in variants.list_pretrained(args.pattern) if args.pretrained else variants.list_models(args.pattern):
        spec = variants.spec(name)
        published = sum(key.startswith(f"{name}.") for key in variants.WEIGHTS)
        row = {
            "name": name,
            "image": hw(spec.preprocess.size),
            "parameters": variants.parameters(spec.config),
            "classes": spec.config.classes,
        }
        where = (
            {"origin": spec.source.origin or "in the package", "licence": spec.source.licence}
            if args.pretrained
            else {"weights": published}
        )
        rows.append(row | where)
    if not rows:
        raise Error(
            f"no {'published weights' if args.pretrained else 'architecture'} matches {args.pattern!r}: try a part of a name"
        )
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        row |= {"image": "{} x {}".format(*row["image"]), "parameters": f"{row['parameters'] / 1e6:.1f} M"}
    _table([list(rows[0]), *([str(value) for value in row.values()] for row in rows)])


def _inspect(args: argparse.Namespace) -> None:
    from . import converters
    from .contents import contents

    src = _source(args.src)
    try:
        about, spec = contents(src, args.key)
    except converters.files.Several as several:
        print(json.dumps({"path": str(src), "keys": list(several.found)}, indent=1) if args.json else several)
        return
    if args.json:
        print(json.dumps({"path": str(src)} | about, indent=1))
        return
    tensors = about.pop("tensors")
    _table([("tensor", "shape", "dtype"), *((name, str(list(t["shape"])), t["dtype"]) for name, t in tensors.items())])
    if spec:
        about |= {"spec": spec.name, "config": spec.config, "preprocess": spec.preprocess, "source": spec.source}
        about |= {"labels": f"{len(spec.labels)}: {', '.join(spec.labels[:3])}, ..." if spec.labels else "none"}
    print()
    _table(
        [(key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for key, value in about.items() if value]
    )


def _convert(args: argparse.Namespace) -> None:
    from . import checkpoint, converters

    checkpoint.check_free(args.dst, args.overwrite)
    config = config_from_json(converters.files.read_json(args.config), str(args.config)) if args.config else None
    with _progress("reading") as bar:
        spec, params = converters.convert(
            _source(args.src),
            variant=args.variant,
            config=config,
            dialect=args.dialect,
            key=args.key,
            classes=args.classes,
            reference=args.reference,
            drop=args.drop,
            dtype=args.dtype,
            allow_nonfinite=args.allow_nonfinite,
            progress=bar,
        )
    if sys.stderr.isatty():
        print(f"writing {args.dst}", file=sys.stderr)
    checkpoint.save(args.dst, spec, params, args.overwrite)
    print(f"{args.dst}: {spec.name}, {variants.parameters(spec.config) / 1e6:.2f} M parameters, {spec.config.classes} classes")


def _export(args: argparse.Namespace) -> None:
    from . import checkpoint, converters, hub

    if Path(args.out).exists() and not args.overwrite:
        raise Error(f"{args.out} exists already: choose another place, or pass --overwrite")
    folder = args.src if checkpoint.exists(args.src) else hub.fetch(args.src)
    spec, params = hub.restore(folder, verify=args.check)
    print(converters.export(spec, params, args.out, args.dialect))


def _verify(args: argparse.Namespace) -> None:
    from . import checkpoint, verify

    model, reference = _load(args), verify.read(args.reference)
    stages = verify.verify(model, reference)
    if args.json:
        print(json.dumps([stage._asdict() | {"good": stage.good} for stage in stages], indent=1))
    else:
        head = ("stage", "max|Δ|", "scale", "allowed / scale", "")
        rows = [(s.name, f"{s.difference:.1e}", f"{s.scale:.3g}", f"{s.tolerance:g}", "ok" if s.good else "OFF") for s in stages]
        _table([head, *rows])
    if left := sorted({name.removeprefix("stage/") for name in reference} - {"input", *(stage.name for stage in stages)}):
        print(f"not compared, because there is no such stage here: {', '.join(left)}", file=sys.stderr)
    if off := [stage.name for stage in stages if not stage.good]:
        raise Error(f"{len(off)} of {len(stages)} stages are off; the first is {off[0]}")
    if args.check and checkpoint.exists(args.model) and os.access(args.model, os.W_OK):
        verify.record(args.model, args.reference, model.dtype, stages)


def _classify(args: argparse.Namespace) -> None:
    model = _load(args)
    found = []
    with _progress("classifying") as bar:
        for batch in _batches(args.images):
            found += model.classify(batch, args.top)
            bar(len(found), len(args.images))
    if args.json:
        tops = [[{"label": label, "probability": p} for label, p in top] for top in found]
        print(json.dumps([{"image": image, "top": top} for image, top in zip(args.images, tops, strict=True)], indent=1))
        return
    for image, top in zip(args.images, found, strict=True):
        print(image)
        _table([(f"  {100 * p:5.1f} %", label) for label, p in top])


def _embed(args: argparse.Namespace) -> None:
    import numpy as np

    from . import converters

    model, done = _load(args), 0
    shape = (len(args.images), model.config.features)
    with converters.files.whole(Path(args.out)) as file, _progress("embedding") as bar:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for batch in _batches(args.images):
            file.write(np.asarray(model.embed(model.preprocess(batch)), np.float32).tobytes())
            bar(done := done + len(batch), len(args.images))
    print(f"{args.out}: {shape[0]} x {shape[1]}, float32")


def _batches(images: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH]


def _load(args: argparse.Namespace) -> Model:
    from .hub import load

    return load(args.model, verify=args.check)


def _source(src: str) -> Path:
    """Where the files of SRC are: a path, or a downloaded "hf:owner/repo"."""
    if not src.startswith("hf:"):
        return Path(src)
    from .download import repository

    return repository(src).parent


class _progress:
    """A bar on stderr, where that is a terminal; called with (done, total)."""

    def __init__(self, what: str) -> None:
        from tqdm import tqdm

        self.bar = tqdm(desc=what, disable=None, leave=False)

    def __enter__(self) -> Callable[[int, int], None]:
        return self.update

    def update(self, done: int, total: int) -> None:
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def __exit__(self, *error: object) -> None:
        self.bar.close()


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("vitjax", description="Pretrained ViT, CLIP and EVA encoders in JAX.")
    parser.add_argument("--version", action="version", version=f"vitjax {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], about: str) -> Callable[..., Any]:
        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(run=run)
        if run in (_export, _verify, _classify, _embed):
            sub.add_argument("--no-check", dest="check", action="store_false", help="load a folder without its manifest's hashes")
        return sub.add_argument

    add = command("list", _list, "Architectures, or published weights, by name.")
    add("pattern", nargs="?", default="*", help="a part of a name, or a pattern such as vit_base_*")
    add("--pretrained", action="store_true", help="published weights instead of architectures")
    add("--json", action="store_true")

    add = command(
        "inspect", _inspect, "What is in a file or folder: tensors, dtypes, dialect, architecture. Nothing in it is executed."
    )
    add("src", metavar="SRC", help="a file, a folder, or hf:owner/repo")
    add("--key", metavar="NAME", help=KEY)
    add("--json", action="store_true")

    add = command("convert", _convert, "Another library's weights to a vitjax checkpoint folder.")
    add("src", metavar="SRC", help="a file, a folder with config.json, or hf:owner/repo")
    add("dst", metavar="DST", help="the folder to write: whole, or not at all")
    add("--variant", metavar="NAME", help="the architecture, or architecture.tag, of a bare file")
    add("--config", type=Path, metavar="CONFIG.json", help="the config of a network that is in no table, as in spec.json")
    add("--dialect", metavar="NAME", help="the spelling, where it is not recognised")
    add("--key", metavar="NAME", help=KEY)
    add("--dtype", choices=("keep", "float32", "bfloat16"), default="float32")
    add("--classes", type=int, metavar="N", help="how many classes the file's head has")
    add("--reference", metavar="NAME", help="whose numbers, where two run the same weights differently: timm, or the dialect's")
    add("--drop", choices=("head", "pre_logits"), action="append", default=[], help="a part to leave in the file")
    add("--allow-nonfinite", action="store_true", help="accept NaN and infinite weights")
    add("--overwrite", action="store_true")

    add = command("export", _export, "A checkpoint folder in another library's spelling.")
    add("src", metavar="DIR", help="a checkpoint folder, or a name")
    add("out", metavar="OUT", help="a .safetensors file, or a folder for it and its config.json")
    add("--dialect", default="timm")
    add("--overwrite", action="store_true")

    add = command("verify", _verify, "Compare with a reference library's numbers, stage by stage.")
    add("model", metavar="DIR", help="a checkpoint folder, whose manifest notes the comparison when all is well; or a name")
    add("reference", metavar="REFERENCE.npz", help="`input` and `stage/NAME` arrays")
    add("--json", action="store_true")

    add = command("classify", _classify, "Name what is in pictures.")
    add("images", nargs="+", metavar="IMAGE")
    add("--model", required=True, metavar="NAME|DIR")
    add("--top", type=int, default=5)
    add("--json", action="store_true")

    add = command("embed", _embed, "Pooled features of pictures, (pictures, width) float32.")
    add("images", nargs="+", metavar="IMAGE")
    add("--model", required=True, metavar="NAME|DIR")
    add("--out", required=True, metavar="FEATURES.npy")
    return parser


if __name__ == "__main__":
    sys.exit(main())
