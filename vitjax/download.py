"""Published files on this machine: from a hub repository or an address, whole, and the ones that were published."""

from __future__ import annotations

import contextlib
import urllib.request
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from . import converters
from .config import Error

SETTINGS = (*converters.files.SETTINGS.values(), converters.TOKENIZER)
# What a repository's weights are called, the first that is there is taken: safetensors before pickles, whole before split.
Groups = tuple[tuple[str, ...], ...]
WEIGHTS: Groups = (
    ("model.safetensors",),
    ("model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin",),
    ("pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
    ("*.safetensors",),
    ("*.pt",),
    ("*.pth",),
    ("*.npz",),
)
# Published with OpenAI's vocabulary, which their own archives do not hold.
CLIP_VOCABULARY = (
    "openai/clip-vit-large-patch14", "openai/clip-vit-base-patch32", "openai/clip-vit-base-patch16",
    "openai/clip-vit-large-patch14-336",
)  # fmt: skip
TIMEOUT = 60  # seconds without an answer


def repository(origin: str, first: tuple[str, ...] = ()) -> Path:
    """The weights (the file, or the index of its shards) of "hf:owner/repo" or "hf:owner/repo@revision", settings beside them.

    first: names of weights that are taken before the usual ones, where a repository has them.
    Through the hub's own library and cache: what is there is not downloaded again, and without a network it is used as it is.
    """
    repo, _, revision = origin.removeprefix("hf:").partition("@")
    try:
        return _repository(repo, revision or None, tuple((name,) for name in first) + WEIGHTS)
    except Error:
        raise
    except Exception as error:  # the hub's errors, its network library's and the disk's have no common base
        raise Error(f"{origin} could not be downloaded ({_reason(error)}){_advice(error)}") from error


def _repository(repo: str, revision: str | None, groups: Groups) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download  # imported here: it takes longer than a local load

    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("offline, as HF_HUB_OFFLINE says")
        info: Any = HfApi().model_info(repo, revision=revision, files_metadata=True)
    except Exception as error:
        if 400 <= (_status(error) or 0) < 500:  # the hub's own answer: no such repository, or not for you
            raise
        return _offline(repo, revision, groups, error, snapshot_download)
    hashes = {file.rfilename: file.lfs.sha256 if file.lfs else "" for file in info.siblings}
    weights = choose(f"hf:{repo}", list(hashes), groups)
    wanted = [name for name in (*weights, *SETTINGS) if name in hashes]
    folder = Path(snapshot_download(repo, revision=revision, allow_patterns=wanted))
    for name in wanted:
        check(folder / name, hashes[name])
    return folder / weights[0]


def _offline(repo: str, revision: str | None, groups: Groups, error: Exception, snapshot_download: Any) -> Path:
    """What the hub's cache has of a repository; the error, where it has nothing whole."""
    for group in groups:
        with contextlib.suppress(Exception):  # not in the cache, or not all of it
            folder = Path(snapshot_download(repo, revision=revision, allow_patterns=[*group, *SETTINGS], local_files_only=True))
            names = [path.name for path in folder.iterdir() if fnmatchcase(path.name, group[0])]
            return folder / choose(f"hf:{repo}", names, groups)[0]
    raise error


def choose(where: str, names: Sequence[str], groups: Groups = WEIGHTS) -> list[str]:
    """Of a repository's files, those with the weights; the first is the file, or the index of the others."""
    for first, *others in groups:
        if found := sorted(name for name in names if fnmatchcase(name, first)):
            if len(found) > 1:
                raise Error(f"{where} holds several weight files: {', '.join(found)}. Download one of them, and give its path")
            return [*found, *(name for name in names if any(fnmatchcase(name, other) for other in others))]
    raise Error(
        f"{where} holds no weights that vitjax knows: there is none of "
        f"{', '.join(first for first, *_ in WEIGHTS)} in it. Give the path of a file instead"
    )


def clip_vocabulary(fetch: bool) -> Path | None:
    """The tokenizer.json of OpenAI's CLIPs, all of which have the same, from the hub's cache or, with `fetch`, from the hub.

    None where it is in neither: a network is as good without, but for `tokenize`.
    """
    from huggingface_hub import hf_hub_download

    for repo in CLIP_VOCABULARY if not fetch else CLIP_VOCABULARY[:1]:
        with contextlib.suppress(Exception):  # whatever keeps it away
            return Path(hf_hub_download(repo, converters.TOKENIZER, local_files_only=not fetch))
    return None if not fetch else clip_vocabulary(False)


def address(url: str, folder: Path, sha256: str = "") -> Path:
    """The file at a URL, kept in `folder`; it appears there when all of it has come and its hash is the published one."""
    from tqdm.auto import tqdm

    path = folder / url.rpartition("/")[2]
    if path.exists():
        return path
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, converters.files.whole(path) as file:
            length = int(answer.headers.get("Content-Length", 0)) or None
            with tqdm(desc=path.name, total=length, unit="B", unit_scale=True, unit_divisor=1024) as bar:
                for block in _blocks(answer):
                    file.write(block)
                    bar.update(len(block))
            if length is not None and file.tell() != length:
                raise Error(f"the connection ended after {file.tell()} of {length} bytes")
            file.flush()
            if sha256:
                _compare(Path(file.name), sha256)
    except (OSError, HTTPException, ValueError, Error) as error:  # an impossible address is a ValueError
        if isinstance(error, HTTPError):
            error.close()  # the server's answer is still open in it
        raise Error(f"{url} could not be downloaded ({_reason(error)}); try again") from error
    return path


def _blocks(answer: HTTPResponse) -> Iterator[bytes]:
    """The bytes of an answer. What breaks while they come is the network's fault, not that of the disk they go to."""
    try:
        yield from iter(lambda: answer.read(1 << 20), b"")
    except (OSError, HTTPException) as error:
        raise Error(f"the connection broke ({_reason(error)})") from error


def check(path: Path, sha256: str) -> None:
    """Raise Error, and remove the file from the hub's cache, unless it is the one that was published."""
    if not sha256:
        return
    try:
        _compare(path, sha256)
    except Error:
        path.resolve().unlink(missing_ok=True)  # the cache keeps a link to the bytes: the next try downloads them anew
        path.unlink(missing_ok=True)
        raise


def _compare(path: Path, sha256: str) -> None:
    found = converters.files.sha256(path)
    if found != sha256:
        raise Error(f"{path.name} is not the file that was published: its sha256 is {found}, not {sha256}. Try again")


def _reason(error: BaseException) -> str:
    text = next(iter(str(error).strip().splitlines()), "")
    return text if isinstance(error, Error) else f"{type(error).__name__}: {text}".rstrip(": ")


def _advice(error: Exception) -> str:
    """The next step, where the hub's answer tells it."""
    match _status(error):
        case 401 | 403:
            return "; if it exists and is private or gated, log in with `hf auth login`, or set HF_TOKEN"
        case 404:
            return "; is the name right?"
    return "; is there a network? What is in the cache already works without"


def _status(error: Exception) -> int | None:
    """The HTTP status of the hub's answer; None if none came."""
    return getattr(getattr(error, "response", None), "status_code", None)
