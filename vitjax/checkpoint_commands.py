"""The commands that are about checkpoints: inspect, convert, export, verify."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from . import checkpoint, converters, hub, variants
from . import verify as stages
from .attention import choose
from .config import Config, Error, ViTConfig, config_from_json
from .contents import contents
from .download import repository
from .hardware import slow_bfloat16
from .networks import towers
from .terminal import progress, table
from .tokenizer import NEXT


def inspect(args: argparse.Namespace) -> None:
    """Print what is in a file or folder."""
    src = _source(args.src)
    try:
        about, spec = contents(src, args.key)
    except converters.files.Several as several:
        print(json.dumps({"path": str(src), "keys": list(several.found)}, indent=1) if args.json else several)
        return
    if args.json:
        runs = {"attention": _attention(spec.config)} if spec else {}
        print(json.dumps({"path": str(src)} | runs | about, indent=1))
        return
    tensors = about.pop("tensors")
    table([("tensor", "shape", "dtype"), *((name, str(list(t["shape"])), t["dtype"]) for name, t in tensors.items())])
    if spec:
        about |= {"spec": spec.name, "config": spec.config, "preprocess": spec.preprocess, "tokenize": spec.tokenize}
        about |= {"source": spec.source}
        about |= {f"attention, {what}": f"{row['kernel']}: {row['why']}" for what, row in _attention(spec.config).items()}
        about |= {"bfloat16 here": slow_bfloat16()}  # nothing where it is not slow
        about |= {"labels": f"{len(spec.labels)}: {', '.join(spec.labels[:3])}, ..." if spec.labels else "none"}
    print()
    table([(key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for key, value in about.items() if value])


def _attention(config: Config) -> dict[str, dict[str, str]]:
    """Whose attention would run on this machine, and why, by tower and dtype of the computation."""
    return {
        f"{name} {dtype}".strip(): choose("auto", dtype, tower.head_width)._asdict()
        for name, tower in towers(config).items()
        for dtype in hub.DTYPES
    }


def convert(args: argparse.Namespace) -> None:
    """Write another library's weights as a checkpoint folder."""
    checkpoint.check_free(args.dst, args.overwrite)
    config = config_from_json(converters.files.read_json(args.config), str(args.config)) if args.config else None
    src = _source(args.src)
    with progress("converting") as bar:
        spec, params = converters.convert(
            src,
            variant=args.variant,
            config=config,
            dialect=args.dialect,
            key=args.key,
            classes=args.classes,
            reference=args.reference,
            act=args.act,
            drop=args.drop,
            part=args.tower,
            dtype=args.dtype,
            allow_nonfinite=args.allow_nonfinite,
            hashing=False,
            progress=bar,
        )
        words = hub.words(spec, src, args.tokenizer)
        if words is None and not isinstance(spec.config, ViTConfig):
            print(f"{spec.name} comes without a vocabulary, so it takes ids, no texts. With --tokenizer, {NEXT}", file=sys.stderr)
        checkpoint.save(args.dst, spec, params, args.overwrite, words, lambda: converters.sha256(src, args.key))
    outputs = "classes" if isinstance(spec.config, ViTConfig) else "features"
    print(f"{args.dst}: {spec.name}, {variants.parameters(spec.config) / 1e6:.2f} M parameters, {spec.config.classes} {outputs}")


def export(args: argparse.Namespace) -> None:
    """Write a checkpoint folder in another library's spelling."""
    out = Path(args.out)
    if out.exists() and not args.overwrite:
        raise Error(f"{out} exists already: choose another place, or pass --overwrite")
    folder = args.src if checkpoint.exists(args.src) else hub.fetch(args.src)
    spec, params = hub.restore(folder, verify=args.check, tower=args.tower)
    file = converters.export(spec, params, out, args.dialect)
    words = None if isinstance(spec.config, ViTConfig) else checkpoint.restore_tokenizer(folder, args.check)
    if words is not None and file != out:  # a folder
        with converters.files.whole(out / checkpoint.TOKENIZER) as copy:
            copy.write(words.encode())
    print(file)


def verify(args: argparse.Namespace) -> None:
    """Compare a network with a reference library's numbers."""
    model, reference = hub.load(args.model, verify=args.check), stages.read(args.reference)
    found = stages.verify(model, reference)
    if args.json:
        print(json.dumps([stage._asdict() | {"good": stage.good} for stage in found], indent=1))
    else:
        head = ("stage", "max|Δ|", "scale", "allowed / scale", "")
        rows = [(s.name, f"{s.difference:.1e}", f"{s.scale:.3g}", f"{s.tolerance:g}", "ok" if s.good else "OFF") for s in found]
        table([head, *rows])
    known = {*stages.INPUTS, *(stage.name for stage in found)}
    if left := sorted({name.removeprefix("stage/") for name in reference} - known):
        print(f"not compared, because there is no such stage here: {', '.join(left)}", file=sys.stderr)
    if off := [stage.name for stage in found if not stage.good]:
        raise Error(f"{len(off)} of {len(found)} stages are off; the first is {off[0]}: see what differs there, such as an eps")
    if args.check and checkpoint.exists(args.model) and os.access(args.model, os.W_OK):
        stages.record(args.model, args.reference, model.dtype, found)


def _source(src: str) -> Path:
    """Where the files of SRC are: a path, or a downloaded "hf:owner/repo"."""
    return repository(src).parent if src.startswith("hf:") else Path(src)
