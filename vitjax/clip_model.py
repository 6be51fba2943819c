"""Two towers with their parameters: what `load` returns for a CLIP, and what one does with it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from .attention import Choice, Option, choose
from .attention_maps import attention_maps
from .clip import CLIP as Network
from .clip import Text, unit
from .compute import apply, run
from .config import CLIPConfig, Error, Spec, TextConfig, Tokenize, tower
from .model import Images, Model, Params, build, picked, ranked, stages
from .tokenizer import NEXT, Tokenizer

Ids = Array | np.ndarray  # (B, N) integers, as `tokenize` makes them
BATCH = 256  # texts that are computed together
PLAIN = ("{}",)  # labels as they are


def _text_outputs(module: Text, ids: Array) -> dict[str, Array]:
    tokens = module.forward_features(ids)
    out = {"tokens": tokens, "pooled": module.pooled(tokens, ids)}
    return out | ({"logits": module.forward_head(tokens, ids)} if module.cfg.classes else {})


@partial(jax.tree_util.register_dataclass, data_fields=["params"], meta_fields=["spec", "dtype", "tokenizer", "attention"])
@dataclass(frozen=True)
class TextModel:
    """A text tower with its parameters: texts to features. It is a pytree whose leaves are the parameters."""

    spec: Spec
    params: Params
    dtype: str = "float32"
    tokenizer: str | None = None  # the text of its tokenizer.json
    attention: Option = "auto"  # as `model.build` has it

    @property
    def config(self) -> TextConfig:
        assert isinstance(self.spec.config, TextConfig)
        return self.spec.config

    @property
    def module(self) -> Text:
        return build(self.config, self.dtype, attention=self.attention)

    @property
    def attention_kernel(self) -> Choice:
        """Whose attention this network runs on this machine, "xla" or "cudnn", and why."""
        return choose(self.attention, self.dtype, self.config.head_width)

    def tokenize(self, texts: str | Sequence[str]) -> Int[np.ndarray, "B N"]:
        """Texts as the (B, context) int32 ids that this network was trained on; longer ones are cut off."""
        if self.tokenizer is None:
            raise Error(f"{self.spec.name} has no vocabulary: with load(..., tokenizer=FILE), {NEXT}")
        return _tokenizer(self.tokenizer, self.spec.tokenize or Tokenize(), self.config.context, self.config.vocab)(texts)

    def __call__(self, ids: Ids) -> Float[Array, "B E"]:
        """Features (B, E) in the space that both towers share."""
        return run(self.module, "__call__", self.params, self._ids(ids))

    def encode_text(self, ids: Ids, normalize: bool = False) -> Float[Array, "B E"]:
        """Features (B, E) of texts; with `normalize` of length 1, float32."""
        features = self(ids)
        return unit(features) if normalize else features

    def forward_features(self, ids: Ids) -> Float[Array, "B N C"]:
        """All tokens (B, N, width) after the final norm."""
        return run(self.module, "forward_features", self.params, self._ids(ids))

    def attention_maps(self, ids: Ids, blocks: Sequence[int] | None = None) -> Float[Array, "L B H N N"]:
        """How much each token takes from each other, of each of `blocks` (None: all), text and head, as Model.attention_maps."""
        blocks = range(self.config.depth) if blocks is None else blocks
        return attention_maps(self.module, self.params, self._ids(ids), picked(self.config, blocks))

    def stages(self, ids: Ids) -> dict[str, Array]:
        """What the network computes, stage by stage, for comparing with another: embed, block_00/attn, ..., pooled, logits."""
        return stages(self.module, _text_outputs, self.params, self._ids(ids), ("tokens", "pooled", "logits"))

    def _ids(self, ids: Any) -> Array:
        cfg, shape, dtype = self.config, np.shape(ids), getattr(ids, "dtype", None)
        if len(shape) != 2 or not 0 < shape[1] <= cfg.context or dtype is None or not jnp.issubdtype(dtype, jnp.integer):
            found = f"{dtype or type(ids).__name__} {shape}"
            raise Error(f"{self.spec.name} takes integers of shape (B, up to {cfg.context}), not {found}: use tokenize(texts)")
        # Of ids that are on a device already nobody looks at the numbers: each call would wait for them to come back
        if isinstance(ids, np.ndarray) and ids.size and not 0 <= ids.min() <= ids.max() < cfg.vocab:
            raise Error(
                f"ids from {ids.min()} to {ids.max()} are not in the vocabulary of {self.spec.name}, 0 to {cfg.vocab - 1}: "
                "use tokenize(texts)"
            )
        return jnp.asarray(ids)


@functools.lru_cache(8)
def _tokenizer(json: str, how: Tokenize, context: int, vocab: int) -> Tokenizer:
    return Tokenizer(json, how, context, vocab)


@dataclass(frozen=True)
class Classifier:
    """Labels and what a text tower makes of them, computed once for any number of pictures."""

    labels: tuple[str, ...]
    weights: Float[Array, "K E"]  # of length 1, float32


@partial(jax.tree_util.register_dataclass, data_fields=["params"], meta_fields=["spec", "dtype", "tokenizer", "attention"])
@dataclass(frozen=True)
class CLIP:
    """A frozen pair of towers, with their parameters. It is a pytree whose leaves are the parameters.

    Images are (B, H, W, 3) float, as `preprocess` makes them, texts (B, context) ids, as `tokenize` makes them.
    """

    spec: Spec
    params: Params
    dtype: str = "float32"
    tokenizer: str | None = None  # the text of its tokenizer.json
    attention: Option = "auto"  # as `model.build` has it

    @property
    def config(self) -> CLIPConfig:
        assert isinstance(self.spec.config, CLIPConfig)
        return self.spec.config

    @property
    def module(self) -> Network:
        return build(self.config, self.dtype, attention=self.attention)

    @property
    def image(self) -> Model:
        """The image tower by itself: tokens, feature maps, pooled features."""
        return Model(tower(self.spec, "image"), self.params["image"], self.dtype, self.attention)

    @property
    def text(self) -> TextModel:
        """The text tower by itself."""
        return TextModel(tower(self.spec, "text"), self.params["text"], self.dtype, self.tokenizer, self.attention)

    def preprocess(self, images: Any) -> np.ndarray:
        """A PIL image, a path, a uint8 array, or a list of these, as the (B, H, W, 3) float32 this network was trained on."""
        return self.image.preprocess(images)

    def tokenize(self, texts: str | Sequence[str]) -> Int[np.ndarray, "B N"]:
        """Texts as the (B, context) int32 ids that this network was trained on; longer ones are cut off."""
        return self.text.tokenize(texts)

    def encode_image(self, x: Images, normalize: bool = False) -> Float[Array, "B E"]:
        """Features (B, E) of pictures; with `normalize` of length 1, float32."""
        features = self.image(x)
        return unit(features) if normalize else features

    def encode_text(self, ids: Ids, normalize: bool = False) -> Float[Array, "B E"]:
        """Features (B, E) of texts; with `normalize` of length 1, float32."""
        return self.text.encode_text(ids, normalize)

    def __call__(self, x: Images, ids: Ids) -> tuple[Float[Array, "B T"], Float[Array, "T B"]]:
        """Logits of every image for every text, and of every text for every image, float32."""
        logits = self.logits(self.encode_image(x, normalize=True), self.encode_text(ids, normalize=True))
        return logits, logits.T

    def logits(self, images: Float[Array, "B E"], texts: Float[Array, "T E"]) -> Float[Array, "B T"]:
        """How well features of length 1 fit each other: (B, T) on the learned scale (with SigLIP's learned bias), float32."""
        return apply(self.module, "logits", {k: v for k, v in self.params.items() if k.startswith("logit_")}, images, texts)

    def classifier(self, labels: Sequence[str], templates: Sequence[str] = PLAIN) -> Classifier:
        """One vector for each label: the mean of those of its `templates` ("a photo of a {}"), as in OpenAI's notebook."""
        labels, templates = _words("labels", labels), _words("templates", templates)
        if without := [template for template in templates if "{}" not in template]:
            raise Error(f"the template {without[0]!r} has no place for a label: write {{}} where it goes")
        texts = [template.replace("{}", label) for label in labels for template in templates]
        features = np.concatenate([np.asarray(self.encode_text(ids, normalize=True)) for ids in _batches(self.tokenize(texts))])
        return Classifier(labels, unit(jnp.asarray(features[: len(texts)].reshape(len(labels), len(templates), -1).mean(1))))

    def zero_shot(
        self, images: Any, labels: Sequence[str] | Classifier, templates: Sequence[str] = PLAIN, top: int | None = None
    ) -> list[tuple[str, float]] | list[list[tuple[str, float]]]:
        """(label, probability) of a picture, best first, all or the `top`; for a list of pictures, a list of these.

        Probabilities add up to 1; SigLIP's are each by itself. With a `classifier`, labels are not computed again.
        """
        known = labels if isinstance(labels, Classifier) else self.classifier(labels, templates)
        return ranked(images, known.labels, np.asarray(self.probabilities(self.preprocess(images), known)), top)

    def probabilities(self, x: Images, classifier: Classifier) -> Float[Array, "B K"]:
        """How likely each of a classifier's labels is, (B, labels): a softmax over them, of SigLIP a sigmoid of each."""
        logits = self.logits(self.encode_image(x, normalize=True), classifier.weights)
        return jax.nn.sigmoid(logits) if self.config.sigmoid else jax.nn.softmax(logits)

    def stages(self, x: Images, ids: Ids) -> dict[str, Array]:
        """What the towers compute, stage by stage, for comparing with another: image/patch, ..., text/pooled, ..., logits."""
        found = {f"image/{name}": stage for name, stage in self.image.stages(x).items() if name != "logits"}
        found |= {f"text/{name}": stage for name, stage in self.text.stages(ids).items() if name != "logits"}
        found |= {"image_features": self.encode_image(x), "text_features": self.encode_text(ids)}
        return found | {"logits_per_image": self(x, ids)[0]}


def _words(what: str, words: Any) -> tuple[str, ...]:
    """Labels or templates, none of them blank, none twice."""
    if isinstance(words, str) or not all(isinstance(word, str) for word in words) or not len(words):
        raise Error(f"{what} must be a list of texts, with at least one in it, not {words!r}")
    if blank := [number for number, word in enumerate(words, 1) if not word.strip()]:
        raise Error(f"{what} must not be blank: number {blank[0]} of {len(words)} is")
    if twice := sorted(word for word, count in Counter(words).items() if count > 1):
        raise Error(f"{what} must differ: {', '.join(twice)} is given more than once")
    return tuple(words)


def _batches(ids: np.ndarray) -> Iterator[np.ndarray]:
    """Some ids at a time, the last of them filled up: to BATCH, of few to the next power of two. So few shapes are compiled."""
    count = min(BATCH, 1 << (len(ids) - 1).bit_length())
    for start in range(0, len(ids), count):
        batch = ids[start : start + count]
        yield np.concatenate([batch, np.repeat(batch[:1], count - len(batch), 0)])
