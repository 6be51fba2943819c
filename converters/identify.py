"""Whose spelling a file is in, and which network it holds. What files do not say, users do; nothing is guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vitjax import variants
from vitjax.config import Act, CLIPConfig, Config, Error, Spec, TextConfig, ViTConfig, image_size, unknown
from vitjax.model import shapes

from .birder import BIRDER
from .dialect import Dialect
from .eva import EVA
from .files import Bundle
from .google import GOOGLE
from .huggingface import HUGGINGFACE
from .mapping import Slot, compare
from .open_clip import OPEN_CLIP, OPENAI
from .stored import Flat, Tensor
from .timm import TIMM

# EVA's names are in part timm's and open_clip's, which do not look at the rest
DIALECTS = {dialect.name: dialect for dialect in (EVA, TIMM, HUGGINGFACE, BIRDER, GOOGLE, OPENAI, OPEN_CLIP)}


def named_dialect(name: str) -> Dialect:
    if name not in DIALECTS:
        raise unknown("dialect", name, DIALECTS)
    return DIALECTS[name]


def recognise(bundle: Bundle, dialect: str | None = None) -> Dialect:
    """The dialect that a bundle is written in, or the one the user names."""
    if dialect is not None:
        return named_dialect(dialect)
    for known in DIALECTS.values():
        if known.recognise(bundle.tensors):
            return known
    some = ", ".join(list(bundle.tensors)[:3]) or "no tensors"
    raise Error(
        f"{bundle.path} is in no spelling that vitjax knows ({', '.join(DIALECTS)}): it holds {some}, ... Give "
        "the --dialect, or a file of one of these"
    )


def spec_of(
    bundle: Bundle,
    dialect: Dialect,
    variant: str | None = None,
    config: Config | None = None,
    reference: str | None = None,
    act: Act | None = None,
) -> Spec:
    """What the files say, or else what the user says; both only where they agree. `reference`, `act`: see `convert`."""
    found = dialect.read_settings(bundle)
    if config is not None:
        pictures = found.preprocess if found else replace(dialect.pictures, size=image_size(config))
        texts = None if isinstance(config, ViTConfig) else (found and found.tokenize) or dialect.texts
        return Spec(bundle.path.stem, config, pictures, tokenize=texts)
    if found is None and variant is None:
        fits = fitting(bundle, dialect)
        raise Error(
            f"{bundle.path} does not say its architecture: pass --variant NAME (variant=...)"
            + (f"; it has the tensors of {', '.join(fits)}" if fits else ", or --config CONFIG.json for one of your own")
        )
    if found is None:
        return _row(bundle, dialect, named(str(variant)), reference, act)
    if act is not None:
        raise Error(f"{bundle.path} comes with settings that say its activation: leave out --act {act}")
    if reference is not None:
        raise Error(f"{bundle.path} comes with settings that say how it is run: leave out --reference {reference}")
    if variant is not None and not _agree(found, named(variant)):
        raise Error(f"the settings of {bundle.path} say {found.name}, not {variant}")
    return found


def _agree(found: Spec, said: Spec) -> bool:
    """Whether settings say what the user says: the same name, or where they have none that we know, the same sizes.

    A folder's name can begin as that of a CLIP's image tower: timm's repositories of EVA-CLIP are called so.
    """
    names = [variants.architecture_of(spec.name) for spec in (found, said)]
    if isinstance(found.config, type(variants.VARIANTS.get(names[0]))):
        return names[0] == names[1]
    return _sizes(found.config) == _sizes(said.config)


def _sizes(config: Config) -> list[tuple[int, ...]]:
    match config:
        case CLIPConfig():
            return _sizes(config.image) + _sizes(config.text)
        case ViTConfig():
            return [(config.patch, config.width, config.depth, config.heads, config.mlp)]
        case TextConfig():
            return [(config.context, config.width, config.depth, config.heads, config.mlp)]


def _row(bundle: Bundle, dialect: Dialect, spec: Spec, reference: str | None, act: Act | None) -> Spec:
    """A row of ours, as the library of the dialect runs the weights, or as timm does."""
    config = dialect.reading(spec.config, bundle.tensors)
    # timm has no more of a CLIP than its image tower
    references = (dialect.name, TIMM.name) if isinstance(spec.config, ViTConfig) else (dialect.name,)
    if reference is not None and reference not in references:
        raise unknown("reference", reference, references)
    if reference == TIMM.name:
        config = replace(config, **{key: getattr(spec.config, key) for key in ("act", "eps", "interpolation")})
    elif dialect is not TIMM:
        spec = replace(spec, source=replace(spec.source, reference=dialect.reference))
    bare = spec.name in variants.VARIANTS  # an architecture, unlike a tag, does not say everything
    if act is not None:
        config = with_act(config, act)
    elif bare and not dialect.says_act(config):
        tags = [tag for tag in variants.WEIGHTS if variants.architecture_of(tag) == spec.name]
        published = f"of published weights the name ({', '.join(tags[:3])}{', ...' if tags[3:] else ''}); " if tags else ""
        raise Error(
            f"{bundle.path} does not say its activation, nor does {spec.name}: "
            f"give {published}of others --act gelu or --act quick_gelu (act=...)"
        )
    spec = dialect.complete(replace(spec, config=config), bundle)
    if bare and isinstance(spec.config, ViTConfig):
        classes = _classes(dialect, spec.config, bundle.tensors)
        return spec if classes in (None, spec.config.classes) else with_classes(spec, classes)
    return spec


def named(variant: str) -> Spec:
    """The spec of "architecture.tag"; an architecture alone has the preprocessing and labels of its first published tag."""
    arch = variants.OPEN_CLIP.get(variant.removesuffix("-quickgelu"), variant.rpartition("/")[2])
    if arch in variants.VARIANTS and any(name.startswith(f"{arch}.") for name in variants.WEIGHTS):
        return replace(variants.spec(variants.resolve(arch)), name=arch)
    return variants.spec(variant)


def with_act(config: Any, act: Act) -> Any:
    """The same network, of a CLIP both towers, with another activation."""
    if isinstance(config, CLIPConfig):
        return replace(config, image=replace(config.image, act=act), text=replace(config.text, act=act))
    return replace(config, act=act)


def with_classes(spec: Spec, classes: int) -> Spec:
    """The same image network with as many classes, of which nobody knows the names."""
    return replace(spec, config=replace(spec.vit, classes=classes), labels=())


def fitting(bundle: Bundle, dialect: Dialect) -> list[str]:
    """The architectures whose tensors are exactly these. Several can be: the activation, for one, is not in a file."""
    return list(_fitting(bundle.tensors, dialect))


def _fitting(raw: Flat, dialect: Dialect) -> Iterator[str]:
    for name, row in dialect.rows.items():
        try:
            config = dialect.reading(row, raw)
            extra = 0  # what a file has beyond the network: whole tensors of zeros, such as a bias of the head
            if isinstance(config, ViTConfig):
                config = replace(config, classes=_classes(dialect, config, raw) or 0)
                extra = config.classes + config.width
            tensors = respelt(dialect, config, raw)
            total = sum(math.prod(tensor.shape) for tensor in tensors.values())
            # counting is fast
            if 0 <= total - variants.parameters(config) <= extra and not compare(dialect.slots(config), tensors):
                yield name
        except Error:  # a row that this library has not
            continue


def respelt(dialect: Dialect, config: Config, tensors: Flat) -> dict[str, Tensor]:
    """A file's parameters under the names that the dialect's rules use."""
    found = dialect.respell(tensors, config)
    return {name: tensor for name, tensor in found.items() if not any(re.fullmatch(p, name) for p in dialect.ignore)}


def _classes(dialect: Dialect, config: ViTConfig, raw: Flat) -> int | None:
    """How many classes the file's head has; None where there is no head."""
    config = replace(config, classes=1, representation=0)  # beside a pooler, transformers has no head
    try:
        rule = next(rule for rule in dialect.rules(config) if rule.ours == "head/kernel")
    except Error:  # a network that this library has without a head only, as transformers SigLIP's image tower
        return None
    left, right = (side.split() for side in rule.pattern.split(" -> "))
    kernel = dialect.respell(raw, config).get(rule.theirs)
    return None if kernel is None or len(kernel.shape) != len(left) else kernel.shape[left.index(right[-1])]


PARTS = {"head": "classes", "pre_logits": "representation"}  # what may be left in the file, and the number it goes by


def without(dialect: Dialect, spec: Spec, tensors: Flat, part: str) -> tuple[Spec, Mapping[str, Tensor]]:
    """The network without its head (or its tanh layer), and the file's tensors without those."""
    if part not in PARTS:
        raise unknown("part to drop", part, PARTS)
    if not isinstance(spec.config, ViTConfig):
        raise Error(f"{spec.name} has no {part} to drop: it is no image network by itself. Take its tower (--tower image) first")
    number = PARTS[part]
    bare = replace(spec.config, **{number: 0})
    full = replace(spec.config, **{"representation": 0, number: getattr(spec.config, number) or 1})
    kept = {slot.theirs for slot in dialect.slots(bare)}
    dropped = {slot.theirs for slot in dialect.slots(full) if _only_in(slot, shapes(bare), kept)}
    labels = () if part == "head" else spec.labels
    left = {name: tensor for name, tensor in respelt(dialect, full, tensors).items() if name not in dropped}
    return replace(spec, config=bare, labels=labels), left


def _only_in(slot: Slot, bare: Mapping[str, object], kept: Sequence[str] | set[str]) -> bool:
    """Whether a tensor belongs to the part: none of its leaves is in the bare network, nor is it a tensor of zeros there."""
    leaves = set(slot.leaves) - {"0"}
    return not leaves & set(bare) if leaves else slot.theirs not in kept
