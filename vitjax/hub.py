"""How one gets a model: by name, from a folder, from anyone's file, or from a hub, downloaded and converted on first use."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from filelock import FileLock

from . import checkpoint, surgery
from .attention import Option, choose
from .cache import folder as cache
from .cache import place
from .clip_model import CLIP, TextModel
from .config import Act, CLIPConfig, Config, Error, Size, Source, Spec, TextConfig, Tokenize, ViTConfig, image_size, unknown
from .config import tower as tower_of
from .mesh import sharded
from .model import Model, Params, abstract, initialise
from .networks import towers
from .tokenizer import Tokenizer, vocabulary

OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # in repositories of several spellings
DTYPES = ("float32", "bfloat16", "float16")
HEAD = 64  # wide are those of most networks


def load(
    name: str | os.PathLike,
    *,
    variant: str | None = None,
    config: Config | None = None,
    classes: int | None = None,
    image: Size | None = None,
    dtype: str = "float32",
    attention: Option = "auto",
    mesh: jax.sharding.Mesh | None = None,
    verify: bool = True,
    dialect: str | None = None,
    key: str | None = None,
    reference: str | None = None,
    act: Act | None = None,
    tower: str | None = None,
    tokenizer: str | os.PathLike | None = None,
) -> Any:
    """A model by the name of published weights, from a checkpoint folder, from another library's file, or "hf:owner/repo".

    What comes is a Model; of two towers a CLIP, of a text tower a TextModel.

    name: "architecture" (its first published checkpoint), "architecture.tag", a publisher's spelling, a path, "hf:owner/repo".
    variant, config: the architecture of a file that does not say it.
    classes: 0 for no head; another number than the checkpoint's for an untrained head of that many.
    image: another picture size than the checkpoint's preprocessing has, or (height, width); positions are resampled as the
        reference library does.
    dtype: of the parameters and of the computation: "float32", "bfloat16" or "float16".
    attention: "auto" runs cuDNN's flash attention where it can (an NVIDIA GPU from Ampere on, dtype bfloat16 or float16) and
        XLA's elsewhere, as "xla" does everywhere; "cudnn" is an Error where it cannot run. What runs: `model.attention_kernel`.
    mesh: splits parameters over its first axis, heads and hidden units over one named `tensor` (mesh.py); each device reads
        its own part only.
    verify: a checkpoint folder's parameters are held to the hashes in its manifest.json.
    tower: of a CLIP, "image" (a Model) or "text" (a TextModel) alone; nothing of the other is read.
    tokenizer: the vocabulary of a CLIP that comes without: OpenAI's bpe_simple_vocab_16e6.txt.gz, or anyone's tokenizer.json.
    dialect, key, reference, act: of a file, as in `vitjax.converters.convert`: in whose spelling it is, which of its sets of
        weights, whose numbers, and run how.
    Raises: Error for a name that is not known (with the closest), what cannot be downloaded, read or verified, and options that
        do not go with the checkpoint.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    choose(attention, dtype, HEAD)  # before anything is downloaded
    path = Path(name)
    if checkpoint.exists(name):  # on this machine, or gs://
        folder = name
    else:
        folder = None if is_file(path) else fetch(str(name))
    if folder is not None:
        if {variant, config, dialect, key, reference, act} != {None}:
            raise Error(
                f"{folder} is a checkpoint folder and says everything: leave out variant, config, dialect, key, reference and act"
            )
        spec, params = restore(folder, dtype, mesh, verify, tower)
        text = checkpoint.restore_tokenizer(folder, verify)
        if tokenizer is not None:
            text = words(spec, Path(folder), tokenizer)
    else:
        from . import converters  # here, as everywhere in this room: a checkpoint folder has no need of them

        drop = ("head",) if classes == 0 else ()
        how: dict[str, Any] = {"variant": variant, "config": config, "dialect": dialect, "key": key, "reference": reference}
        how |= {"part": tower, "act": act}
        spec, lazy = converters.convert(path, drop=drop, dtype=dtype, hashing=False, **how)
        like = abstract(spec.config)
        places = jax.tree.map(lambda leaf: leaf.sharding, like if mesh is None else sharded(like, mesh))
        with ThreadPoolExecutor(1) as beside:
            digest = beside.submit(converters.sha256, path, key)
            params = jax.tree.map(lambda leaf, place: jax.device_put(np.asarray(leaf), place), lazy, places)
        spec = replace(spec, source=replace(spec.source, sha256=digest.result()))
        text = words(spec, path, tokenizer)
    pictures = not isinstance(spec.config, TextConfig)
    if image is None and config is None and pictures and spec.preprocess.size != image_size(spec.config):
        image = spec.preprocess.size  # DINOv2 at Hugging Face: pictures of 224 pixels, positions of 518
    if image is not None:
        spec, params = surgery.resize(spec, params, image)
    if classes is not None and classes != spec.config.classes:
        spec, params = surgery.new_head(spec, params, classes)
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    return model(spec, params, dtype, text, attention)


def model(
    spec: Spec, params: Params, dtype: str = "float32", tokenizer: str | None = None, attention: Option = "auto"
) -> Model | CLIP | TextModel:
    """A spec and its parameters as what one works with. Error: its heads cannot have the attention that is asked for."""
    for tower in towers(spec.config).values():
        choose(attention, dtype, tower.head_width)
    match spec.config:
        case ViTConfig():
            return Model(spec, params, dtype, attention)
        case TextConfig():
            return TextModel(spec, params, dtype, tokenizer, attention)
        case CLIPConfig():
            return CLIP(spec, params, dtype, tokenizer, attention)


def words(spec: Spec, src: Path, given: str | os.PathLike | None = None, fetch: bool = False) -> str | None:
    """The text of a network's tokenizer.json, if it takes texts: the one given, beside its file, or CLIP's from the hub's cache.

    fetch: CLIP's from the hub itself, too. A vocabulary that is not the network's is an Error.
    """
    config = spec.config.text if isinstance(spec.config, CLIPConfig) else spec.config
    if isinstance(config, ViTConfig):
        if given is not None:
            raise Error(f"{spec.name} takes no texts, so it has no use for the vocabulary {given}: leave it out")
        return None
    how = spec.tokenize or Tokenize()
    from . import converters, download

    text = converters.tokenizer(src) if given is None else vocabulary(given)
    clip = (how.start, how.end, config.vocab) == (Tokenize.start, Tokenize.end, Tokenize.end + 1)
    if text is None and clip and (file := download.clip_vocabulary(fetch)):
        text = vocabulary(file)
    if text is not None:
        Tokenizer(text, how, config.context, config.vocab)("")
    return text


def create(
    name: str,
    *,
    classes: int | None = None,
    image: Size | None = None,
    dtype: str = "float32",
    attention: Option = "auto",
    seed: int = 0,
) -> Any:
    """An architecture with random parameters, float32: a Model, or of two towers a CLIP. Nothing is downloaded.

    name: "architecture"; one that is not known is an Error with the closest. classes, image: others than the architecture's.
    dtype: of the computation. attention: as `load` has it. seed: the same one gives the same parameters.
    """
    from . import converters

    found = converters.named(name)
    spec = replace(found, name=name.partition(".")[0], labels=(), source=Source(reference=found.source.reference))
    if image is not None:
        spec = surgery.sized(spec, image)
    if classes is not None:
        spec = surgery.headed(spec, classes)
    return model(spec, initialise(spec.config, seed), dtype, attention=attention)


def is_file(path: Path) -> bool:
    """Whether this is somebody's file or folder, or would be one if it were there, and no published name."""
    from . import converters

    return path.exists() or path.suffix in converters.files.SUFFIXES


def fetch(name: str) -> Path:
    """The checkpoint folder of published weights or of "hf:owner/repo", downloaded and converted unless it is here."""
    folder = place(name)
    if not checkpoint.exists(folder):
        (locks := cache() / ".locks").mkdir(parents=True, exist_ok=True)
        with FileLock(locks / folder.name):  # of two processes at once, one waits for what the other makes
            if not checkpoint.exists(folder):
                _convert_to(folder, name)
    return folder


def _convert_to(folder: Path, name: str) -> None:
    """Download published weights, or "hf:owner/repo", and make a checkpoint folder of them."""
    from huggingface_hub.utils import tqdm  # silent where HF_HUB_DISABLE_PROGRESS_BARS says so

    from . import converters, download, variants

    published = variants.published(name)
    name = published or name
    source = variants.spec(name).source if published else Source("huggingface", name)
    file = _downloaded(name, source, folder) if published else download.repository(name)
    # A folder's config.json says everything; else our row does, for a quickgelu architecture runs the file of its plain sister.
    by_row = published and source.dialect != "huggingface"
    src = file if by_row else file.parent
    how: dict[str, Any] = {"variant": name, "key": variants.WEIGHTS[name].key} if by_row else {}

    def sha256() -> str:
        found = converters.sha256(src, how.get("key"))
        if source.sha256 not in ("", found):
            raise Error(f"{file} is not the file that was published as {name}: its sha256 is not {source.sha256}. Remove it")
        return found

    with tqdm(desc=f"converting {name}", unit="layer") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        spec, params = converters.convert(src, hashing=False, progress=progress, **how)
        if spec.source.dialect in ("huggingface", "open_clip") and not by_row:  # their files do not say their name
            spec = replace(spec, name=name.removeprefix("hf:"))
        spec = replace(spec, source=replace(spec.source, origin=source.origin))
        checkpoint.save(folder, spec, params, tokenizer=words(spec, file, fetch=True), sha256=sha256)


def _downloaded(name: str, source: Source, folder: Path) -> Path:
    """The published file, or the error that says what to do with one's own copy."""
    from . import download

    try:
        if source.origin.startswith("hf:"):
            return download.repository(source.origin, OPEN_CLIP_FILES if source.dialect == "open_clip" else ())
        return download.address(source.origin, cache() / "files", source.sha256)
    except Error as error:
        by_hand = f"With the file here: vitjax convert FILE {folder} --variant {name}"
        raise Error(f"{name} is not on this machine: {error}. {by_hand}") from error


def restore(
    folder: str | os.PathLike,
    dtype: str | None = None,
    mesh: jax.sharding.Mesh | None = None,
    verify: bool = True,
    tower: str | None = None,
) -> tuple[Spec, Params]:
    """A checkpoint folder's spec and parameters, in `dtype` or as stored, held to its manifest, and to the spec's network.

    tower: that of a CLIP, alone.
    """
    whole = checkpoint.restore_spec(folder)
    spec, like = whole if tower is None else tower_of(whole, tower), abstract(whole.config)
    return spec, checkpoint.restore(folder, like if mesh is None else sharded(like, mesh), dtype, verify, tower)
