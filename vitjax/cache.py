"""The cache folder: converted checkpoints, and what XLA compiled, which the next process then need not compile.

What waits for JAX, or for the tables, is imported where it is needed: the command line looks here before anything else.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

EMBEDDED = Path(__file__).parent / "pretrained"  # small enough to travel in the package

log = logging.getLogger(__name__)


def folder() -> Path:
    """Where converted checkpoints are kept: $VITJAX_CACHE, or vitjax in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("VITJAX_CACHE") or Path(base) / "vitjax")


def place(name: str) -> Path:
    """Where published weights, or those of "hf:owner/repo", are as a checkpoint folder, or will be."""
    from . import variants

    name = variants.published(name) or name
    inside = EMBEDDED / name
    return inside if inside.exists() else folder() / name.removeprefix("hf:").replace("/", "--")


def compiled() -> Path:
    """Where compiled networks are kept: of each kind of CPU apart, for one's code may be no code to another on a shared disk."""
    from .hardware import instructions

    kind = hashlib.sha256(" ".join(sorted(instructions())).encode()).hexdigest()[:8]
    return folder() / "compiled" / kind


def keep_compiled() -> None:
    """From here on, this process keeps what it compiles, and takes what others have kept. A program calls this, a library never.

    JAX_ENABLE_COMPILATION_CACHE=0 turns it off, JAX_COMPILATION_CACHE_DIR is another place: both are JAX's own words. Small
    networks are kept, too. Of several processes that write the same entry any may win: they are all alike. An entry that is not
    whole costs a warning and the compiling.
    """
    import jax

    if not jax.config.jax_enable_compilation_cache or jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    kept = compiled()
    try:
        kept.mkdir(parents=True, exist_ok=True)
        if not os.access(kept, os.W_OK):
            raise PermissionError(f"{kept} is not writable")
    except OSError as error:
        log.warning("compiled networks are not kept: %s. Set VITJAX_CACHE to a folder that can be written", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(kept))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
