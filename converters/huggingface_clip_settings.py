"""transformers' config.json of CLIP and SigLIP to a Spec, and back: both towers, or one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitjax.config import CLIPConfig, Config, Error, Preprocess, Source, Spec, TextConfig, Tokenize, ViTConfig
from vitjax.values import as_object

from . import huggingface_pictures as pictures
from .files import Bundle
from .huggingface_settings import REFERENCE, SILENT, WRITTEN, activation, possible, understood, whole
from .json_file import blame

# By model_type, what its class says where a file is silent: configuration_{clip,siglip}.py of transformers 5.23
CLIP = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
SIGLIP = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
SMALL = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
# The ids of CLIP's vocabulary. SigLIP's class says the same, which is wrong there, and not used.
WORDS = {"vocab_size": 49408, "max_position_embeddings": 77, "bos_token_id": 49406, "eos_token_id": 49407}
DEFAULTS: dict[str, dict[str, Any]] = {
    "clip": {"projection_dim": 512},
    "clip_vision_model": CLIP | BASE | {"image_size": 224, "patch_size": 32, "projection_dim": 512},
    "clip_text_model": CLIP | SMALL | WORDS | {"projection_dim": 512},
    "siglip": {},
    "siglip_vision_model": SIGLIP | BASE | {"image_size": 224, "patch_size": 16, "vision_use_head": True},
    "siglip_text_model": SIGLIP | BASE | {"vocab_size": 32000, "max_position_embeddings": 64, "projection_size": None},
}
CLASSES = {  # of two, the second has a projection
    "clip": ("CLIPModel",),
    "clip_vision_model": ("CLIPVisionModel", "CLIPVisionModelWithProjection"),
    "clip_text_model": ("CLIPTextModel", "CLIPTextModelWithProjection"),
    "siglip": ("SiglipModel",),
    "siglip_vision_model": ("SiglipVisionModel",),
    "siglip_text_model": ("SiglipTextModel",),
}
PROJECTIONS = {"clip_vision_model": "visual_projection.weight", "clip_text_model": "text_projection.weight"}
CLASSIFIERS = ("CLIPForImageClassification", "SiglipForImageClassification")
PROCESSORS = {"clip": "CLIP", "siglip": "Siglip"}
PARTS = ("vision_config", "text_config")
OWN = {  # says nothing of the network's numbers, as SILENT
    "attention_dropout", "dropout", "initializer_factor", "logit_scale_init_value", "id2label", "num_labels",
}  # fmt: skip

# Before transformers' pull request 24773 files had other ids than the tokenizer has: a beginning of 0, an end of 2. To
# modeling_clip.py that end still means the highest id of a text, which is where it ends.
OLD_START, OLD_END = 0, 2
# As SiglipTokenizer and Siglip2Tokenizer make them, of which the second has Gemma's vocabulary. They are filled up to the
# end, because the last token stands for the text.
SIGLIP_TEXTS, SIGLIP2_TEXTS, GEMMA = Tokenize("canonical", None, 1, 1), Tokenize("lower", None, 1, 0), 256000

NO, YES, SOME = (False,), (True,), range(1, 10**9)
BLOCKS: dict[str, Iterable[Any]] = {"act": WRITTEN, "qkv_bias": YES, "bias": YES, "layer_scale": (None,)}
BLOCKS |= dict.fromkeys(("qk_norm", "attn_norm", "mlp_norm", "gated", "norm_post"), NO)
IMAGE = BLOCKS | {
    "registers": (0,),
    "positions": ("all",),
    "norm": ("before",),
    "representation": (0,),
    "distilled": NO,
    "rotary": NO,
}
POSSIBLE: dict[str, dict[str, Iterable[Any]]] = {
    "clip_vision_model": IMAGE | {"cls": YES, "patch_bias": NO, "norm_pre": YES, "pool": ("token",)},
    "clip_text_model": BLOCKS | {"causal": YES, "pool": ("argmax", "eos")},
    "siglip_vision_model": IMAGE | {"cls": NO, "patch_bias": YES, "norm_pre": NO, "pool": ("map",), "classes": (0,)},
    "siglip_text_model": BLOCKS | {"causal": NO, "pool": ("last",), "classes": SOME, "head_bias": YES},
}


def model_type(cfg: Config) -> str:
    """transformers' name of a kind of network, or an error that names what it has not."""
    match cfg:
        case CLIPConfig():
            family = "siglip" if cfg.sigmoid else "clip"
            projected = {} if cfg.sigmoid else {"classes": SOME}
            _check(cfg.image, f"{family}_vision_model", projected)
            _check(cfg.text, f"{family}_text_model", projected)
            return family
        case ViTConfig():
            return _check(cfg, "clip_vision_model" if cfg.norm_pre else "siglip_vision_model")
        case TextConfig():
            return _check(cfg, "clip_text_model" if cfg.causal else "siglip_text_model")


def _check(cfg: ViTConfig | TextConfig, kind: str, more: Mapping[str, Iterable[Any]] = {}) -> str:
    wanted = POSSIBLE[kind] | dict(more)
    if kind in PROJECTIONS and cfg.classes:
        wanted["head_bias"] = NO
    if cfg.pool == "map":
        wanted |= {"pool_act": (None, cfg.act), "pool_eps": (None, cfg.eps)}
    possible(cfg, wanted, CLASSES[kind][0])
    if isinstance(cfg, TextConfig) and cfg.eos == OLD_END:
        raise Error(
            f"transformers' CLIPTextModel cannot be a network with eos={OLD_END}, which it takes for the highest "
            "id; export it in open_clip's dialect"
        )
    return kind


def read(bundle: Bundle) -> Spec:
    """The Spec of a folder whose config.json is of a model_type in DEFAULTS."""
    with blame(bundle.path.parent / "config.json"):
        config, texts = _network(bundle.config or {}, bundle)
    if texts is not None and texts.clean == "huggingface":
        texts = replace(texts, pad=_pad(bundle, texts.end))
    how = Preprocess()
    if not isinstance(config, TextConfig):
        image = config.image if isinstance(config, ViTConfig) else config.image.image
        how = pictures.read(bundle, PROCESSORS[model_type(config).partition("_")[0]], image)
    name = bundle.path.resolve().parent.name
    return Spec(name, config, how, (), Source("huggingface", reference=REFERENCE), texts)


def _network(data: Mapping[str, Any], bundle: Bundle) -> tuple[Config, Tokenize | None]:
    kind = data["model_type"]
    family, _, part = kind.partition("_")
    said, projected = _said(data, kind), _projected(data, kind, bundle)
    if part:
        space = whole(said, "projection_dim") if projected else 0
        return (_image(said, family, space), None) if part == "vision_model" else _text(said, family, space)
    vision, words = (_nested(data, f"{family}_{part}_model", f"{part}_config") for part in ("vision", "text"))
    space = whole(said, "projection_dim") if family == "clip" else 0
    text, texts = _text(words, family, space)
    return CLIPConfig(_image(vision, family, space), text, sigmoid=family == "siglip"), texts


def _said(data: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What a config says of a network, and its class where it is silent."""
    if (other := data.get("model_type", kind)) != kind:
        raise Error(f"model_type {other!r} is not supported here: only {kind!r}")
    nested = {"clip": {*PARTS, *(f"{part}_dict" for part in PARTS)}, "siglip": {*PARTS}}.get(kind, set())
    known = {"model_type", "architectures", *DEFAULTS[kind]} | nested | OWN | SILENT
    understood(data, known, {"vision_use_head": True} if "vision_use_head" in DEFAULTS[kind] else {})
    return DEFAULTS[kind] | dict(data)


def _nested(data: Mapping[str, Any], kind: str, part: str) -> dict[str, Any]:
    """The same of one tower of two. Of two in a file `..._dict` counts, where it is silent, too (configuration_clip.py)."""
    said = {}
    for key in (part, f"{part}_dict"):
        if key == part or data.get(key) is not None:
            with blame(Path(key)):
                said = _said(as_object(data.get(key) or {}, key), kind)
    return said


def _projected(data: Mapping[str, Any], kind: str, bundle: Bundle) -> bool:
    """Whether the class of a tower has CLIP's projection. Old files name no class: then by the tensors."""
    named = data.get("architectures")
    if not named:
        return PROJECTIONS.get(kind) in bundle.tensors
    if named[0] in CLASSIFIERS:
        raise Error(
            f"architectures {named!r} is not read: its head takes the mean of all patches. Leave it out for the towers alone"
        )
    if len(named) != 1 or named[0] not in CLASSES[kind]:
        raise Error(f"architectures {named!r} is not supported: only one of {', '.join(CLASSES[kind])}")
    return kind in PROJECTIONS and named[0] == CLASSES[kind][1]


def _blocks(said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "width": whole(said, "hidden_size"),
        "depth": whole(said, "num_hidden_layers"),
        "heads": whole(said, "num_attention_heads"),
        "mlp": whole(said, "intermediate_size"),
        "act": activation(said["hidden_act"]),
        "eps": said["layer_norm_eps"],
    }


def _image(said: Mapping[str, Any], family: str, space: int) -> ViTConfig:
    clip: dict[str, Any] = {"patch_bias": False, "norm_pre": True, "head_bias": False}
    own = clip if family == "clip" else {"cls": False, "pool": "map"}
    sizes = {"image": whole(said, "image_size"), "patch": whole(said, "patch_size"), "classes": space}
    return ViTConfig(**sizes, **_blocks(said), interpolation="cubic-pytorch", **own)


def _text(said: Mapping[str, Any], family: str, space: int) -> tuple[TextConfig, Tokenize]:
    own: dict[str, Any]
    if family == "siglip":
        space = whole(said, "hidden_size" if said["projection_size"] is None else "projection_size")
        own = {"causal": False, "pool": "last", "head_bias": True}
        texts = SIGLIP2_TEXTS if said["vocab_size"] == GEMMA else SIGLIP_TEXTS
    else:
        start, end = (whole(said, key) for key in ("bos_token_id", "eos_token_id"))
        own = {"pool": "argmax"} if end == OLD_END else {"pool": "eos", "eos": end}
        start = WORDS["bos_token_id"] if start == OLD_START else start
        end = WORDS["eos_token_id"] if end == OLD_END else end
        texts = Tokenize("huggingface", start, end, end)
    sizes = {"context": whole(said, "max_position_embeddings"), "vocab": whole(said, "vocab_size"), "classes": space}
    return TextConfig(**sizes, **_blocks(said), **own), texts


def _pad(bundle: Bundle, end: int) -> int:
    """The id of the token that tokenizer_config.json fills texts up with; as CLIPTokenizer by default, that of the end.

    config.json has one, too, which is not the tokenizer's. What comes after the end changes no features.
    """
    with blame(bundle.path.parent / "tokenizer_config.json"):
        said = bundle.tokenizer or {}
        token = said.get("pad_token")
        ids = {added["content"]: int(id) for id, added in (said.get("added_tokens_decoder") or {}).items()}
        return ({"!": 0} | ids).get(token["content"] if isinstance(token, dict) else token, end)


def write(spec: Spec) -> dict[str, dict[str, Any]]:
    """config.json, and what goes with it for pictures and texts: with these transformers builds the network."""
    cfg, kind = spec.config, model_type(spec.config)
    family = kind.partition("_")[0]
    match cfg:
        case CLIPConfig():
            said = {"vision_config": _written_image(cfg.image), "text_config": _written_text(cfg.text, spec.tokenize)}
            said |= {"projection_dim": cfg.classes} if family == "clip" else {}
        case ViTConfig():
            said = _written_image(cfg)
        case TextConfig():
            said = _written_text(cfg, spec.tokenize)
    name = CLASSES[kind][kind in PROJECTIONS and "projection_dim" in said]
    files = {"config.json": {"architectures": [name], "model_type": kind} | said}
    if not isinstance(cfg, TextConfig):
        files["preprocessor_config.json"] = pictures.write(spec.preprocess, PROCESSORS[family])
    if not isinstance(cfg, ViTConfig) and family == "clip":
        pad = "!" if spec.tokenize is not None and spec.tokenize.pad == 0 else "<|endoftext|>"
        files["tokenizer_config.json"] = {
            "tokenizer_class": "CLIPTokenizer",
            "bos_token": "<|startoftext|>",
            "eos_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "pad_token": pad,
            "model_max_length": (cfg.text if isinstance(cfg, CLIPConfig) else cfg).context,
        }
    return files


def _written(cfg: ViTConfig | TextConfig) -> dict[str, Any]:
    kind = model_type(cfg)
    return {
        "model_type": kind,
        "hidden_size": cfg.width,
        "num_hidden_layers": cfg.depth,
        "num_attention_heads": cfg.heads,
        "intermediate_size": cfg.mlp,
        "hidden_act": WRITTEN[cfg.act],
        "layer_norm_eps": cfg.eps,
    } | ({"projection_dim": cfg.classes} if kind in PROJECTIONS and cfg.classes else {})


def _written_image(cfg: ViTConfig) -> dict[str, Any]:
    if not isinstance(cfg.image, int):
        raise Error(f"transformers' CLIP and SigLIP take their positions for a square, not for pictures of {cfg.image}")
    return _written(cfg) | {"image_size": cfg.image, "patch_size": cfg.patch, "num_channels": 3}


def _written_text(cfg: TextConfig, texts: Tokenize | None) -> dict[str, Any]:
    said = _written(cfg) | {"vocab_size": cfg.vocab, "max_position_embeddings": cfg.context}
    if not cfg.causal:
        return said | {"projection_size": cfg.classes} | ({"eos_token_id": texts.end, "pad_token_id": texts.pad} if texts else {})
    start = WORDS["bos_token_id"] if texts is None or texts.start is None else texts.start
    return said | {"bos_token_id": start, "eos_token_id": OLD_END if cfg.pool == "argmax" else cfg.eos}
