"""What a dialect is: another library's spelling of a network, its settings files, and how it runs the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vitjax import variants
from vitjax.config import Preprocess, Spec, ViTConfig

from .files import Bundle
from .mapping import Rule
from .stored import Flat

Json = dict[str, Any]


@dataclass(frozen=True)
class Dialect:
    """Another library's spelling, as a value.

    A file is read so: `recognise` it; its network is what `read_settings` finds, or else a row of ours as `reading` takes it;
    `respell` gives its tensors the names that `rules` use; `ignore` names those that are no parameters.
    """

    name: str
    reference: str  # the library, and the version its behaviour was read from
    rules: Callable[[ViTConfig], list[Rule]]  # raises Error for a network that the library does not have
    recognise: Callable[[Flat], bool]  # by the tensors that only this spelling has
    read_settings: Callable[[Bundle], Spec | None] = lambda bundle: None  # what the files say of the network; None: nothing
    # a row of ours, as its code runs these tensors
    reading: Callable[[ViTConfig, Flat], ViTConfig] = lambda config, tensors: config
    respell: Callable[[Flat, ViTConfig], Flat] = lambda tensors, config: tensors  # other spellings of the same -> that of `rules`
    complete: Callable[[Spec, Bundle], Spec] = lambda spec, bundle: spec  # a row of ours, with what the files say beside it
    write_settings: Callable[[Spec], Mapping[str, Json]] = lambda spec: {}  # file name -> JSON, beside an exported file
    write_metadata: Callable[[Spec], dict[str, str]] = lambda spec: {"format": "pt"}  # in its header
    rows: Mapping[str, ViTConfig] = field(default_factory=lambda: variants.TIMM)  # of ours, that its networks may go by
    ignore: tuple[str, ...] = ()  # regular expressions of tensors that are no parameters, of the respelt names
    pictures: Preprocess = field(default_factory=Preprocess)  # but for their size: of a network of the user's own (--config)
