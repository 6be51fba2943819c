"""What a dialect is: another library's spelling of a network, its settings files, and how it runs the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vitjax import variants
from vitjax.config import Config, Error, Preprocess, Spec, Tokenize, ViTConfig
from vitjax.model import shapes

from .files import Bundle
from .mapping import Rule, Slot, slots
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
    rules: Callable[[Any], list[Rule]]  # of a config of its `kinds`; raises Error for a network that the library does not have
    recognise: Callable[[Flat], bool]  # by the tensors that only this spelling has
    read_settings: Callable[[Bundle], Spec | None] = lambda bundle: None  # what the files say of the network; None: nothing
    # what its files hold beside parameters, and we compute: written, and left out of what `respell` gives
    tables: Callable[[Any], Mapping[str, np.ndarray]] = lambda config: {}
    # a row of ours, as its code runs these tensors
    reading: Callable[[Any, Flat], Any] = lambda config, tensors: config
    respell: Callable[[Flat, Any], Flat] = lambda tensors, config: tensors  # other spellings of the same -> that of `rules`
    complete: Callable[[Spec, Bundle], Spec] = lambda spec, bundle: spec  # a row of ours, with what the files say beside it
    write_settings: Callable[[Spec], Mapping[str, Json]] = lambda spec: {}  # file name -> JSON, beside an exported file
    write_metadata: Callable[[Spec], dict[str, str]] = lambda spec: {"format": "pt"}  # in its header
    kinds: tuple[type[Config], ...] = (ViTConfig,)  # of networks
    rows: Mapping[str, Config] = field(default_factory=lambda: variants.TIMM)  # of ours, that its networks may go by
    # whether a row of ours says the activation of a file without settings, which no tensor tells
    says_act: Callable[[Any], bool] = lambda config: True
    ignore: tuple[str, ...] = ()  # regular expressions of tensors that are no parameters, of the respelt names
    # of a network of the user's own (--config)
    pictures: Preprocess = field(default_factory=Preprocess)  # but for their size
    texts: Tokenize = field(default_factory=Tokenize)

    def slots(self, config: Config) -> list[Slot]:
        """Every tensor of theirs that a network has, and where in our leaves it belongs."""
        if not isinstance(config, self.kinds):
            has = ", ".join(kind.kind for kind in self.kinds)
            raise Error(
                f"{self.reference} has no network of the kind {config.kind!r}, only {has}: "
                "give one of a CLIP's towers (--tower image or text), or another dialect"
            )
        return slots(self.rules(config), shapes(config))
