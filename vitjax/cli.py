"""The `vitjax` command. A command's room, and JAX with it, is imported when it runs, so that --help and list answer at once."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import io
import logging
import os
import signal
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .config import TOWERS, Act, Error

KEY = "which of a file's several sets of weights: model_ema, teacher.backbone, params/img; . for its top"
FROM_FILE = "@FILE: one on each line of a file"
TOWER = "of a CLIP, one tower by itself"
NO_CHECK: Any = {"dest": "check", "action": "store_false", "help": "load a folder without its manifest's hashes"}
PICTURES = "files, and folders with pictures in them; " + FROM_FILE


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. 0: done; 1: the work failed, with a one-line reason on stderr; 2: wrong usage."""
    if argv is None:  # the process is ours: nothing is worth collecting while modules are imported
        gc.disable()
    args = _parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be anything
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("vitjax", description="Pretrained ViT, CLIP and EVA encoders in JAX.")
    parser.add_argument("--version", action="version", version=f"vitjax {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument(
        "--no-compilation-cache", action="store_true", help="compile anew; as JAX_ENABLE_COMPILATION_CACHE=0 in the environment"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, room: str, about: str, run: str = "") -> Callable[..., Any]:
        """A command, which is the function of its name in a room."""

        def start(args: argparse.Namespace) -> None:
            with _reading_ahead(args):
                work = getattr(importlib.import_module(f".{room}", __package__), run or name.replace("-", "_"))
                if not gc.isenabled():
                    gc.freeze()  # what was imported stays: the collector need not look at it again, at the exit neither
                    gc.enable()
                if "jax" in sys.modules and not args.no_compilation_cache:
                    importlib.import_module(".cache", __package__).keep_compiled()
                work(args)

        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(run=start, usage=sub.error)
        return sub.add_argument

    for add in _about_files, _about_folders, _about_pictures, _about_data, _about_this_machine:
        add(command)
    return parser


def _reading_ahead(args: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """The parameters of a --model that is on this machine are read while its room, and JAX, are imported."""
    if "model" not in args or "check" not in args:
        return contextlib.nullcontext()
    from . import cache, leaves

    with contextlib.suppress(Error):  # of a name that is not known, which the command itself will say
        folder = Path(args.model) if (Path(args.model) / "spec.json").exists() else cache.place(args.model)
        return leaves.reading_ahead(folder / "params", args.check)
    return contextlib.nullcontext()


Command = Callable[..., Callable[..., Any]]


def _about_files(command: Command) -> None:
    add = command("list", "catalogue", "Architectures, or published weights, by name.", run="show")
    add("pattern", nargs="?", default="*", help="a part of a name, or a pattern such as vit_base_*")
    add(
        "--pretrained",
        action="store_true",
        help="published weights instead of architectures, with the ImageNet-1k accuracies that their cards report",
    )
    add("--json", action="store_true")

    add = command(
        "inspect",
        "checkpoint_commands",
        "What is in a file or folder: tensors, dtypes, dialect, architecture. Nothing in it is executed.",
    )
    add("src", metavar="SRC", help="a file, a folder, or hf:owner/repo")
    add("--key", metavar="NAME", help=KEY)
    add("--json", action="store_true")

    add = command("convert", "checkpoint_commands", "Another library's weights to a vitjax checkpoint folder.")
    add("src", metavar="SRC", help="a file, a folder with config.json, or hf:owner/repo")
    add("dst", metavar="DST", help="the folder to write: whole, or not at all")
    add("--variant", metavar="NAME", help="the architecture, or architecture.tag, of a bare file")
    add("--config", type=Path, metavar="CONFIG.json", help="the config of a network that is in no table, as in spec.json")
    add("--dialect", metavar="NAME", help="the spelling, where it is not recognised")
    add("--key", metavar="NAME", help=KEY)
    add("--dtype", choices=("keep", "float32", "bfloat16"), default="float32")
    add("--classes", type=int, metavar="N", help="how many classes the file's head has")
    add("--reference", metavar="NAME", help="whose numbers, where two run the same weights differently: timm, or the dialect's")
    add("--act", choices=typing.get_args(Act), help="the activation of a CLIP whose file does not say it")
    add("--drop", choices=("head", "pre_logits"), action="append", default=[], help="a part to leave in the file")
    add("--tower", choices=TOWERS, help=TOWER)
    add(
        "--tokenizer", metavar="FILE", help="the vocabulary of a CLIP without tokenizer.json beside it; OpenAI's own file will do"
    )
    add("--allow-nonfinite", action="store_true", help="accept NaN and infinite weights")
    add("--overwrite", action="store_true")


def _about_folders(command: Command) -> None:
    add = command("export", "checkpoint_commands", "A checkpoint folder in another library's spelling.")
    add("src", metavar="DIR", help="a checkpoint folder, or a name")
    add("out", metavar="OUT", help="a .safetensors file, or a folder for it, its config.json and its tokenizer.json")
    add("--dialect", default="timm")
    add("--tower", choices=TOWERS, help=TOWER)
    add("--no-check", **NO_CHECK)
    add("--overwrite", action="store_true")

    add = command("verify", "checkpoint_commands", "Compare with a reference library's numbers, stage by stage.")
    add("model", metavar="DIR", help="a checkpoint folder, whose manifest notes the comparison when all is well; or a name")
    add("reference", metavar="REFERENCE.npz", help="`input` (and of a CLIP `ids`) and `stage/NAME` arrays")
    add("--no-check", **NO_CHECK)
    add("--json", action="store_true")


def _about_pictures(command: Command) -> None:
    add = command("classify", "picture_commands", "Name what is in pictures, by a network's own classes.")
    add("images", nargs="+", metavar="IMAGE", help=PICTURES)
    add("--model", required=True, metavar="NAME|DIR")
    add("--top", type=_count, default=5, metavar="N")
    add("--no-check", **NO_CHECK)
    add("--json", action="store_true")

    add = command("zero-shot", "picture_commands", "Name what is in pictures, by labels that you give, with a CLIP.")
    add("images", nargs="+", metavar="IMAGE", help=PICTURES)
    add("--labels", required=True, metavar="A,B|@FILE", help=f"with commas between them; {FROM_FILE}, where commas do not count")
    add("--templates", nargs="+", metavar="TEXT", help=f'"a photo of a {{}}.", with the label in the place of {{}}; {FROM_FILE}')
    add("--model", required=True, metavar="NAME|DIR")
    add("--top", type=_count, default=5, metavar="N")
    add("--no-check", **NO_CHECK)
    add("--json", action="store_true")

    add = command(
        "embed",
        "picture_commands",
        "Features of pictures or texts, (rows, width) float32: pooled ones, of a CLIP projected ones. FEATURES.json says which "
        "row is what; a picture that cannot be read is NaN. An interrupted command goes on where it was.",
    )
    add("images", nargs="*", metavar="IMAGE", help=PICTURES)
    add("--texts", nargs="+", metavar="TEXT", help=f"texts instead of pictures, of a CLIP; {FROM_FILE}")
    add("--model", required=True, metavar="NAME|DIR")
    add("--out", required=True, metavar="FEATURES.npy")
    add("--normalize", action="store_true", help="to length 1")
    add("--batch", type=_count, metavar="N", help="how many are computed together: 8 pictures on a CPU, otherwise 64")
    add("--no-check", **NO_CHECK)
    add("--overwrite", action="store_true", help="replace FEATURES.npy, and what another run has begun")


def _about_data(command: Command) -> None:
    add = command("data", "data_commands", "Make a data set ready for training: vitjax data pack FOLDER SHARDS.")
    add("action", choices=("pack",), help="write pictures as ArrayRecord shards; what cannot be read is named and left out")
    add("folder", metavar="FOLDER", help="of class folders, or with captions.tsv, or saved by Hugging Face's datasets")
    add("shards_folder", metavar="SHARDS", help="the folder to write: whole, or not at all")
    add("--shards", type=_count, default=0, metavar="N", help="how many files; one for each 8192 pictures")
    add("--side", type=_count, default=0, metavar="PIXELS", help="make pictures smaller whose shorter side is longer than that")
    add("--captions", action="store_true", help="of a Hugging Face data set, the captions instead of the classes")


def _about_this_machine(command: Command) -> None:
    add = command("doctor", "doctor", "Versions, devices, caches, what is missing, and a self-test.", run="report")
    add("--json", action="store_true")


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{count} is less than 1")
    return count


if __name__ == "__main__":
    sys.exit(main())
