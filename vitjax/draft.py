"""A folder that appears whole or not at all, whatever kills the process that writes it."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from etils import epath

from .config import Error

LET_GO = 0.05  # seconds between two times that the system is told what it need not keep in memory


@contextlib.contextmanager
def whole(path: epath.PathLike) -> Iterator[epath.Path]:
    """A draft folder that takes the place of `path` when the block succeeds, and leaves no trace when it does not.

    One process at a time writes to a place. What a killed one left beside it goes when the next one comes.
    """
    path, draft = epath.Path(path), place(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            recover(path)
            _remove(draft)
            _remove(_beside(path, "old"))
            try:
                draft.mkdir()
                yield draft
                _replace(path, draft)
            finally:
                recover(path)
                _remove(draft)
    except (OSError, ValueError) as error:  # tensorstore reports a full disk in a ValueError
        raise Error(f"cannot write {path}: {reason(error)}") from error


def place(path: epath.PathLike) -> epath.Path:
    """Where the draft of a folder is."""
    return _beside(epath.Path(path), "draft")


def recover(path: epath.PathLike) -> None:
    """Put back what was at `path` if its writer died between the two renames of `_replace`."""
    path = epath.Path(path)
    old = _beside(path, "old")
    if not path.exists() and old.exists():
        with contextlib.suppress(OSError):  # its writer lives, and was quicker
            old.rename(path)


@contextlib.contextmanager
def letting_go(folder: epath.Path) -> Iterator[None]:
    """While the block runs, what is on disk of the folder leaves the system's memory.

    So the disk begins early, and pages are written again instead of new ones, which on a virtual machine cost six times the
    writing: a third of the time of a conversion. Who loads the folder next reads the disk.
    """
    done = threading.Event()

    def sweep() -> None:
        while not done.wait(LET_GO):
            with contextlib.suppress(OSError):  # Orbax renames its folders meanwhile
                for path in Path(folder).parent.glob(f"{folder.name}*/**/d/*"):
                    with path.open("rb") as file:
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    thread = threading.Thread(target=sweep, daemon=True)
    if "://" not in str(folder) and hasattr(os, "posix_fadvise"):
        thread.start()
    try:
        yield
    finally:
        done.set()


def _replace(path: epath.Path, draft: epath.Path) -> None:
    """Put the draft in the place of `path`, and what was there in the draft's.

    Two renames, not the exchange that only Linux has, and not on every file system: what a kill between them leaves,
    whoever looks next puts right.
    """
    if not path.exists():
        draft.rename(path)
        return
    old = _beside(path, "old")
    path.rename(old)
    try:
        draft.rename(path)
    except OSError:  # a reader came between, and recovered the old one
        path.rename(old)
        draft.rename(path)
    old.rename(draft)


@contextlib.contextmanager
def _alone(path: epath.Path) -> Iterator[None]:
    """Hold the lock of a place. The system lets go of it when the process ends, however it ends.

    Not filelock's, as in hub.py's cache: that leaves its file, and this stands beside a user's folder.
    """
    if "://" in str(path):  # object stores have no locks
        yield
        return
    import fcntl  # here, because Windows has none and can still read

    lock = _beside(path, "draft.lock")
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(lock) and os.path.samestat(os.fstat(file), os.stat(lock)):
                break  # else the one who held it has removed the file since we opened it
        except BlockingIOError as error:
            os.close(file)
            raise Error(f"another process is writing {path}: wait for it, or choose another place") from error
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    try:
        yield
    finally:
        os.unlink(lock)
        os.close(file)


def _beside(path: epath.Path, kind: str) -> epath.Path:
    return path.parent / f".{path.name}.{kind}"


def _remove(folder: epath.Path) -> None:
    if folder.exists():
        folder.rmtree()


def reason(error: BaseException) -> str:
    """The first line of an error, which is where libraries say what happened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
