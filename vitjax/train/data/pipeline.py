"""Batches of pictures for one process, the same however many processes and workers there are and wherever a run goes on.

Everything about an example of a batch follows from the seed and its place in an endless order: which picture it is, and how
it is seen. So nothing has to be saved to go on, and beginning at any step costs nothing.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np

from ...config import Error, Preprocess, Spec, hw
from ...preprocess import Pixels
from ..recipe import Recipe
from .batches import Batch, Damage
from .crops import Look, fitted, look
from .examples import Example, Source

__all__ = ["Batch", "Damage", "evaluation", "order", "training"]

PIECE = 16  # rows of a batch that one thread or worker makes at a time: their results are held in memory, some of each
SHARED = 2**18  # bytes of an array from which on a worker hands it over in shared memory
TRIES = 100  # pictures in a row of which one must be readable
MANY = 2000  # pictures for whose evaluation workers are started, if there are any

Tokenizer = Callable[[Sequence[str]], Any]  # texts to ids (B, context); called in this process

_SHUFFLING = threading.Lock()  # threads that begin an epoch together wait for one to shuffle


class Piece(NamedTuple):
    """Some rows of a batch, on their way to it."""

    images: Sequence[np.ndarray]  # not yet one array, for what is new in memory costs as much as a copy
    label: np.ndarray
    weight: np.ndarray
    texts: tuple[str, ...]
    bad: tuple[str, ...]


def order(recipe: Recipe, step: int, count: int) -> np.ndarray:
    """Which of `count` examples a step sees. Each epoch has an order of its own; what fills no batch waits for the next."""
    if recipe.batch > count:
        raise Error(f"batch {recipe.batch} is more than the {count} pictures there are to learn from: give a smaller one")
    epoch, place = divmod(step, count // recipe.batch)
    with _SHUFFLING:
        shuffled = _shuffled(recipe.seed, epoch, count)
    return shuffled[place * recipe.batch :][: recipe.batch]


@functools.lru_cache(2)  # the end of one epoch is made together with the beginning of the next
def _shuffled(seed: int, epoch: int, count: int) -> np.ndarray:
    numbers = np.arange(count, dtype=np.int32 if count < 2**31 else np.int64)
    np.random.default_rng((seed, epoch)).shuffle(numbers)
    return numbers


def training(
    recipe: Recipe, spec: Spec, source: Source, first: int, rows: np.ndarray, tokenizer: Tokenizer | None = None
) -> Generator[Batch]:
    """The batches of the steps from `first` on, without end; of each the `rows` that this process has.

    A picture that cannot be read is named, and the next one of the source that can takes its place.
    Close it, or its workers stay until they are collected.
    """
    order(recipe, first, len(source))  # or there is no batch at all
    parts = math.ceil(len(rows) / PIECE)
    pieces = Training(recipe, spec.preprocess, look(recipe, spec.preprocess), source, rows, parts, first)
    return _batches(pieces, parts, recipe.workers, tokenizer)


def evaluation(
    recipe: Recipe, spec: Spec, source: Source, rows: np.ndarray, tokenizer: Tokenizer | None = None
) -> Generator[Batch]:
    """All examples, once and in order, in full batches: what fills the last one has weight 0, as what cannot be read."""
    parts = math.ceil(len(rows) / PIECE)
    pieces = Evaluation(recipe, spec.preprocess, source, rows, parts)
    return _batches(pieces, parts, recipe.workers if len(source) >= MANY else 0, tokenizer)


@dataclass(frozen=True)
class Training:
    """The pieces of the batches of all steps, by number."""

    recipe: Recipe
    how: Preprocess
    look: Look
    source: Source
    rows: np.ndarray
    parts: int  # pieces of a batch
    first: int

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> Piece:
        step, rows = self.first + index // self.parts, _part(self.rows, index % self.parts)
        examples = order(self.recipe, step, len(self.source))
        # All generators first, for between two decodings nothing of them would be left in the processor's caches. The 1 is so
        # that no picture is seen by the numbers that shuffled an epoch.
        seeds = [(self.recipe.seed, step * self.recipe.batch + int(row), 1) for row in rows]
        rngs = list(map(np.random.default_rng, seeds))
        seen = [self._seen(int(examples[row]), rng) for row, rng in zip(rows, rngs, strict=True)]
        images, found, bad = zip(*seen, strict=True)
        label = np.array([example.label for example in found], np.int32)
        texts = tuple(example.text for example in found)
        return Piece(images, label, np.ones(len(rows), np.float32), texts, sum(bad, ()))

    def _seen(self, number: int, rng: np.random.Generator) -> tuple[Pixels, Example, tuple[str, ...]]:
        """An example as it is seen, or the next one that can be read, and the names of those before that."""
        bad, reason = list[str](), ""
        for other in range(number, number + min(TRIES, len(self.source))):
            name = ""
            try:
                example = self.source[other % len(self.source)]
                name = example.name
                return self.look(example, rng), example, tuple(bad)
            except Error as error:
                reason = reason or str(error)
                bad.append(name or str(error))
        raise Error(f"{len(bad)} pictures in a row cannot be read, the first one because {reason}")


@dataclass(frozen=True)
class Evaluation:
    """The pieces of the batches that have every example once."""

    recipe: Recipe
    how: Preprocess
    source: Source
    rows: np.ndarray
    parts: int

    def __len__(self) -> int:
        return self.parts * math.ceil(len(self.source) / self.recipe.batch)

    def __getitem__(self, index: int) -> Piece:
        places = index // self.parts * self.recipe.batch + _part(self.rows, index % self.parts)
        images = [np.zeros((*hw(self.how.size), 3), np.uint8)] * len(places)
        label, weight = np.zeros(len(places), np.int32), np.zeros(len(places), np.float32)
        texts, bad = [""] * len(places), list[str]()
        for row, place in enumerate(places[places < len(self.source)]):
            name = ""
            try:
                example = self.source[int(place)]
                name = example.name
                images[row] = fitted(example, self.how)
                label[row], texts[row], weight[row] = example.label, example.text, 1
            except Error as error:
                bad.append(name or str(error))
        return Piece(images, label, weight, tuple(texts), tuple(bad))


def _part(rows: np.ndarray, part: int) -> np.ndarray:
    return rows[part * PIECE :][:PIECE]


def _batches(pieces: Training | Evaluation, parts: int, workers: int, tokenizer: Tokenizer | None) -> Generator[Batch]:
    """Pieces, made by threads or by workers, put together to batches one step ahead."""
    try:
        import grain  # here, because only training needs it
        from absl import flags
        from grain.experimental import DatasetOptions, ThreadPrefetchIterDataset, WithOptionsIterDataset
    except ImportError as error:
        raise Error("training reads its data by grain, which is not installed: pip install 'vitjax[train]'") from error
    if not flags.FLAGS.is_parsed():  # grain asks them, and only absl's own main functions parse them
        flags.FLAGS.mark_as_parsed()
    threads = 0 if workers else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    read = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    made = grain.MapDataset.source(cast(Sequence[Piece], pieces))
    made = (made.map(functools.partial(_handed_over, SHARED)) if workers else made).to_iter_dataset(read)
    made = WithOptionsIterDataset(made, DatasetOptions(min_shm_size=SHARED))
    made = made.mp_prefetch(grain.MultiprocessingOptions(workers, per_worker_buffer_size=2), worker_init_fn=_start)
    joined = made.batch(parts, batch_fn=functools.partial(_joined, tokenizer))
    batches = iter(ThreadPrefetchIterDataset(joined, prefetch_buffer_size=1))
    return _closing(batches)


def _closing(batches: Any) -> Generator[Batch]:
    try:
        yield from batches
    except RuntimeError as error:
        if "terminated unexpectedly" not in str(error):  # grain's words
            raise
        raise Error(f"a worker that decodes pictures is gone: {error} If memory ran out, set fewer workers") from error
    finally:
        batches.close()


def _start(worker: int, workers: int) -> None:
    """A worker leaves it to its parent to be interrupted, and ends with it, whatever ends that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _handed_over(least: int, piece: Piece) -> Piece:
    """A worker's pictures as one array, in memory that it shares with its parent if there are so many bytes of them."""
    from grain.multiprocessing import SharedMemoryArray

    shape = len(piece.images), *piece.images[0].shape
    array = SharedMemoryArray(shape, np.uint8) if math.prod(shape) >= least else np.empty(shape, np.uint8)
    np.stack(piece.images, out=array)
    return piece._replace(images=array)


def _joined(tokenizer: Tokenizer | None, pieces: Sequence[Piece]) -> Batch:
    images = [np.asarray(image) for piece in pieces for image in piece.images]
    image = np.stack(images)  # a copy, too: a worker's are in memory that it shares with us and will use again
    label = np.concatenate([np.asarray(piece.label) for piece in pieces])
    weight = np.concatenate([np.asarray(piece.weight) for piece in pieces])
    texts = [text for piece in pieces for text in piece.texts]
    text = None if tokenizer is None else np.asarray(tokenizer(texts), np.int32)
    return Batch(image, label, text, weight, tuple(name for piece in pieces for name in piece.bad))
