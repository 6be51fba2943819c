"""The commands that put pictures, and texts, through a network: classify, zero-shot, embed."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import checkpoint, features, hub, pictures
from .clip_model import CLIP, PLAIN
from .config import CLIPConfig, Error, Preprocess
from .model import Model, ranked, softmax
from .terminal import listed, progress, several, table


def classify(args: argparse.Namespace) -> None:
    """Name what is in pictures, by a network's own classes."""
    found = pictures.find(listed(args.images))
    model = hub.load(args.model, verify=args.check)
    if not isinstance(model, Model) or not model.config.classes:
        other = f"give it labels to choose from: vitjax zero-shot ... --labels ... --model {args.model}"
        next_ = other if isinstance(model, CLIP) else "use another, or `vitjax embed`"
        raise Error(f"{model.spec.name} has no classes of its own: {next_}")
    labels = model.spec.labels or tuple(map(str, range(model.config.classes)))
    _rank(args, found, model.spec.preprocess, labels, lambda x: softmax(model(x)))


def zero_shot(args: argparse.Namespace) -> None:
    """Name what is in pictures, by labels that are given."""
    found = pictures.find(listed(args.images))
    given = listed([args.labels]) if args.labels.startswith("@") else args.labels.split(",")
    labels, templates = [label.strip() for label in given], listed(args.templates) if args.templates else PLAIN
    clip = hub.load(args.model, verify=args.check)
    if not isinstance(clip, CLIP):
        own = "it has classes of its own: vitjax classify. " if isinstance(clip, Model) and clip.config.classes else ""
        raise Error(f"{clip.spec.name} is no CLIP, which has an image and a text tower: {own}see `vitjax list` for kinds")
    classifier = clip.classifier(labels, templates)
    _rank(args, found, clip.spec.preprocess, labels, lambda x: clip.probabilities(x, classifier))


def _rank(
    args: argparse.Namespace, names: list[str], how: Preprocess, labels: Sequence[str], probabilities: Callable[[Any], Any]
) -> None:
    """Print the most likely labels of pictures; at the end those that could not be read."""
    found, size = list[dict[str, Any]](), features.together(len(names))
    with progress("looking") as bar, contextlib.closing(pictures.stream(names, how, size)) as batches:
        for batch in batches:
            tops = ranked(batch.x, labels, np.asarray(probabilities(batch.x)), args.top)
            for row, top in enumerate(tops[: batch.filled]):
                what = {"error": batch.unreadable[row]} if row in batch.unreadable else {"top": top}
                found.append({"image": names[len(found)]} | what)
            bar(len(found), len(names))
    if args.json:
        tops = [[{"label": label, "probability": p} for label, p in item.get("top", ())] for item in found]
        print(json.dumps([item | {"top": top} for item, top in zip(found, tops, strict=True)], indent=1))
    else:
        for item in found:
            if "top" in item:
                print(item["image"])
                table([(f"  {100 * p:5.1f} %", label) for label, p in item["top"]])
    if unreadable := {item["image"]: item["error"] for item in found if "error" in item}:
        raise Error(_unread(unreadable, len(names), "the others are above"))


def embed(args: argparse.Namespace) -> None:
    """Write the features of pictures or texts."""
    if bool(args.images) == bool(args.texts):
        args.usage("give either pictures or --texts")
    items = listed(args.texts) if args.texts else pictures.find(listed(args.images))
    model, two = _tower(args, "text" if args.texts else "image")
    with progress("embedding") as bar:
        try:
            made = features.embed(
                model,
                items,
                args.out,
                texts=bool(args.texts),
                head=two,
                normalize=args.normalize,
                batch=args.batch,
                overwrite=args.overwrite,
                progress=bar,
            )
        except KeyboardInterrupt as error:
            raise Error("interrupted; the same command goes on where it was") from error
    print(f"{args.out}: {made.rows} x {made.width}, float32")
    if made.unreadable:
        raise Error(_unread(made.unreadable, made.rows, "their rows are NaN"))


def _tower(args: argparse.Namespace, name: str) -> tuple[Any, bool]:
    """The network; of a CLIP only one tower, where what is read says beforehand that it is one. And whether it is a CLIP's."""
    if not checkpoint.exists(args.model) and hub.is_file(Path(args.model)):
        model = hub.load(args.model)
        return model, isinstance(model, CLIP)
    folder = args.model if checkpoint.exists(args.model) else hub.fetch(args.model)
    two = isinstance(checkpoint.restore_spec(folder).config, CLIPConfig)
    return hub.load(folder, verify=args.check, tower=name if two else None), two


def _unread(unreadable: dict[str, str], count: int, rest: str) -> str:
    lines = [why if name in why else f"{name}: {why}" for name, why in unreadable.items()]
    return f"{len(unreadable)} of {count} pictures could not be read, {rest}:{several(lines)}"
