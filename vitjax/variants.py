"""Every architecture and every published checkpoint by name, and how a name finds its row. Stdlib only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from . import clip_weights, weights
from .clip_variants import CLIPS, OPEN_CLIP
from .clip_variants import REFUSED as OTHER_CLIPS
from .config import CLIPConfig, Config, Error, Preprocess, Spec, TextConfig, Tokenize, ViTConfig, image_size, unknown
from .vit_variants import BIRDER, TIMM
from .vit_variants import REFUSED as OTHER_VITS

__all__ = ["BIRDER", "CLIPS", "OPEN_CLIP", "REFUSED", "TIMM", "VARIANTS", "WEIGHTS"]  # the tables are found here

VARIANTS: dict[str, Config] = {**TIMM, **BIRDER, **CLIPS}
WEIGHTS = weights.WEIGHTS | clip_weights.WEIGHTS
REFUSED = OTHER_VITS | OTHER_CLIPS


def list_models(pattern: str = "*") -> list[str]:
    """The architectures whose name matches: "vit_base_*", or any part of a name."""
    return _matching(VARIANTS, pattern)


def list_pretrained(pattern: str = "*") -> list[str]:
    """The published checkpoints of which the name matches, or the architecture's; its first "architecture.tag" is its default."""
    return _matching(WEIGHTS, pattern)


def _matching(names: Iterable[str], pattern: str) -> list[str]:
    if not re.search(r"[*?[]", pattern):
        pattern = f"*{pattern}*"
    return [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(architecture_of(name), pattern)]


def architecture_of(name: str) -> str:
    """The architecture of a published checkpoint: its row says it, or else its name does, up to the first dot."""
    return (WEIGHTS[name].architecture if name in WEIGHTS else "") or name.partition(".")[0]


def architecture(name: str) -> Config:
    """The row of an architecture, or an error that says why there is none."""
    if name in VARIANTS:
        return VARIANTS[name]
    for pattern, why in REFUSED.items():
        if fnmatchcase(name, pattern):
            raise Error(f"{name} is known to its publisher, not here: {why}; see `vitjax list` for what is")
    raise unknown("architecture", name, VARIANTS)


def resolve(name: str) -> str:
    """The name of a published checkpoint in WEIGHTS; an architecture alone is its first tag, which is timm's default.

    Publishers' own spellings are accepted: "timm/...", "hf_hub:timm/...", "hf-hub:timm/...", "hf:google/vit-large-patch16-224",
    "birder-project/...", "ViT-L/14@336px", "ViT-B-32:laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K".
    """
    repository, name = re.sub(r"^(hf[-_]hub:|hf:)", "", name), _clip_name(name)
    name = re.sub(r"^(hf[-_]hub:|hf:)?(timm|birder-project)/", "", name)
    if (bare := re.sub(r"^(hf[-_]hub:|hf:)", "", name)) in WEIGHTS:
        return bare
    if (clip := _published_in(repository)) is not None:
        return clip
    arch, _, tag = name.partition(".")
    if "/" in arch:
        raise unknown("weights", name, WEIGHTS)
    architecture(arch)
    published = [known for known in WEIGHTS if architecture_of(known) == arch and "/" not in known]
    if not published:
        raise Error(f"{arch} has no published weights; make it with random ones: vitjax.create({arch!r})")
    if tag:
        raise unknown("weights", name, published)
    return published[0]


def published(name: str) -> str | None:
    """As `resolve`; None of an "hf:owner/repo" that is in no table."""
    bare = name.removeprefix("hf:")
    return resolve(bare) if bare == name or bare in WEIGHTS or bare.removeprefix("timm/") in WEIGHTS else None


def _clip_name(name: str) -> str:
    """Ours for OpenAI's and open_clip's name of a CLIP; any other name as it is."""
    if (published := _published_in(name)) is not None:
        return published
    theirs, _, tag = name.replace("@336px", "-336").partition(":")
    openai, theirs = "/" in theirs, theirs.replace("/", "-")
    if (arch := OPEN_CLIP.get(theirs.removesuffix("-quickgelu"))) is None:
        return name
    if tag or openai:
        return f"{arch}.{tag or 'openai'}"
    quick = [tag for tag in clip_weights.WEIGHTS if architecture_of(tag) == arch and WEIGHTS[tag].runs]
    return quick[0] if theirs.endswith("-quickgelu") and quick else arch


def _published_in(repository: str) -> str | None:
    """The CLIP of a hub repository in open_clip's spelling."""
    return next((name for name, row in clip_weights.WEIGHTS.items() if row.origin == f"hf:{repository}"), None)


def spec(name: str) -> Spec:
    """What is known of a published checkpoint; of an architecture alone, what `create` starts from."""
    if name in VARIANTS:
        texts = None if isinstance(VARIANTS[name], ViTConfig) else Tokenize()
        return Spec(name, VARIANTS[name], Preprocess(image_size(VARIANTS[name])), tokenize=texts)
    name = resolve(name)
    return WEIGHTS[name].spec(name, VARIANTS[architecture_of(name)])


def parameters(config: Config) -> int:
    """How many numbers a network has, by arithmetic: `vitjax list` builds none."""
    match config:
        case CLIPConfig():
            return parameters(config.image) + parameters(config.text) + 1 + config.sigmoid
        case TextConfig():
            c = config.width
            head = config.classes * (c + config.head_bias)
            return c * (config.vocab + config.context + 2) + _blocks(config) + head
    c, patches = config.width, config.grid[0] * config.grid[1]
    positions = {"all": config.prefix + patches, "cls": 1 + patches, "patches": patches, "none": 0}[config.positions]
    tokens = c * (3 * config.patch**2 + config.patch_bias + config.prefix + positions + 2 * config.norm_pre)
    pooled = c * (2 if config.pool == "token_mean" else 1)
    head = config.classes * (config.features + config.head_bias) * (1 + config.distilled)
    head += config.representation * (pooled + 1)
    return tokens + _blocks(config) + 2 * c * (config.norm != "none") + head


def _blocks(config: ViTConfig | TextConfig) -> int:
    """How many numbers a tower's blocks and its attention pooling have."""
    c, m = config.width, config.mlp
    biases = {True: 3, "qv": 2, False: 0}[config.qkv_bias] + config.bias
    attention = c * (4 * c + biases + 2 * config.attn_norm) + 4 * config.head_width * config.qk_norm
    ups = 1 + config.gated
    mlp = c * m * (ups + 1) + config.bias * (ups * m + c) + 2 * m * config.mlp_norm
    block = attention + mlp + 2 * c * (2 + (config.layer_scale is not None))  # two norms, two scales
    pool = 4 * c * (c + 1) + 2 * c * m + m + c + 3 * c  # attention and MLP with all biases, a norm and the probe
    return config.depth * block + pool * (config.pool == "map")
