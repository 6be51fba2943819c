"""transformers' config.json to a Spec, and back. What of it is no ViT of ours is refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vitjax.config import Act, Blocks, Error, Source, Spec, ViTConfig, hw, unknown

from . import huggingface_pictures as pictures
from .files import Bundle
from .json_file import blame

REFERENCE = "transformers 5.23.0"


@dataclass(frozen=True)
class Family:
    """One of transformers' networks; what it is called there."""

    prefix: str  # of the bare model's tensors in a class with a head
    model: str  # the names of its classes begin so
    norms: tuple[str, str] = ("layernorm_before", "layernorm_after")
    registers: str = "register_tokens"
    dino: bool = False
    mask: bool = False  # has a mask token, whatever it is used for
    eps: float = 1e-12
    processor: str = "ViT"


DINO = ("norm1", "norm2")
FAMILIES = {  # by model_type
    "vit": Family("vit", "ViT"),
    "deit": Family("deit", "DeiT", registers="distillation_token", processor="DeiT"),
    "dinov2": Family("dinov2", "Dinov2", DINO, dino=True, eps=1e-6, processor="Bit"),
    "dinov2_with_registers": Family(
        "dinov2_with_registers", "Dinov2WithRegisters", DINO, dino=True, mask=True, eps=1e-6, processor="Bit"
    ),
    "ijepa": Family("ijepa", "IJepa"),
    "vit_msn": Family("vit", "ViTMSN", eps=1e-6),  # only read: the same network as vit
}
TOWERS = (  # model_types of huggingface_clip_settings.py
    "clip", "clip_vision_model", "clip_text_model", "siglip", "siglip_vision_model", "siglip_text_model",
)  # fmt: skip
NAFLEX = "its patches come cut out, in any number and with a mask (NaFlex); SigLIP 2 of one size is model_type 'siglip'"
REFUSED = {  # what else has patches
    "vit_mae": "its encoder looks at a quarter of the patches, drawn at random",
    "beit": "its attention has relative positions",
    "data2vec-vision": "its attention has relative positions",
    "dinov3_vit": "it has rotary positions",
    "siglip2": NAFLEX,
    "siglip2_vision_model": NAFLEX,
}

ACTS: dict[str, Act] = {
    "gelu": "gelu", "gelu_python": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh", "quick_gelu": "quick_gelu", "silu": "silu", "swish": "silu",
}  # fmt: skip
WRITTEN = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu", "silu": "silu"}
NETWORK = {
    "model_type", "architectures", "hidden_size", "num_hidden_layers", "num_attention_heads", "head_dim", "hidden_act",
    "layer_norm_eps", "image_size", "patch_size", "num_channels", "qkv_bias", "num_labels", "id2label",
}  # fmt: skip
MLP = {"vit": {"intermediate_size"}, "dinov2": {"mlp_ratio", "use_swiglu_ffn", "layerscale_value"}}
OWN = {
    "vit": {"encoder_stride", "pooler_output_size", "pooler_act"},
    "dinov2": {
        "drop_path_rate", "out_features", "out_indices", "_out_features", "_out_indices", "stage_names", "apply_layernorm",
        "reshape_hidden_states", "use_mask_token",
    },
}  # fmt: skip
SILENT = {  # says nothing of the network's numbers: training, text generation and housekeeping of every config of theirs
    "attention_probs_dropout_prob", "hidden_dropout_prob", "initializer_range", "label2id", "problem_type",
    "transformers_version",
    "_name_or_path", "_commit_hash", "_attn_implementation", "_attn_implementation_autoset", "attn_implementation", "dtype",
    "torch_dtype", "torchscript", "use_bfloat16", "return_dict", "output_hidden_states", "output_attentions", "tf_legacy_loss",
    "gradient_checkpointing", "tie_word_embeddings", "tie_encoder_decoder", "chunk_size_feed_forward", "is_encoder_decoder",
    "is_decoder", "add_cross_attention", "cross_attention_hidden_size", "max_length", "min_length", "do_sample",
    "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p", "typical_p",
    "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids",
    "num_return_sequences", "output_scores", "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id",
    "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "finetuning_task",
    "task_specific_params", "tokenizer_class", "prefix", "bos_token_id", "pad_token_id", "eos_token_id", "sep_token_id",
    "decoder_start_token_id", "use_cache", "xla_device",
}  # fmt: skip
HEADS = ("ForImageClassification", "ForImageClassificationWithTeacher")


def family(cfg: ViTConfig) -> Family:
    """transformers' network of a config, or an error that names what it has not."""
    return FAMILIES[model_type(cfg)]


def model_type(cfg: ViTConfig) -> str:
    dino = cfg.layer_scale is not None
    kind = ("dinov2_with_registers" if cfg.registers else "dinov2") if dino else "deit" if cfg.registers else "vit"
    kind = kind if cfg.cls else "ijepa"
    pools = ("token", "token_mean") if dino else ("token",) if cfg.cls else ("mean",)
    if dino and cfg.classes:  # its head sees both
        pools = ("token_mean",)
    wanted: dict[str, Iterable[Any]] = {
        "registers": range(1, 10**6) if kind == "dinov2_with_registers" else (int(kind == "deit"),),
        "registers_first": (False,),
        "positions": ("cls",) if kind == "dinov2_with_registers" else ("all",),
        "rotary": (False,),
        "patch_bias": (True,),
        "norm_pre": (False,),
        "gated": (True, False) if dino else (False,),
        "act": ("silu",) if cfg.gated else WRITTEN,
        "qkv_bias": (True, False),
        "bias": (True,),
        "qk_norm": (False,),
        "attn_norm": (False,),
        "mlp_norm": (False,),
        "norm_post": (False,),
        "layer_scale": (cfg.layer_scale,) if cfg.cls else (None,),
        "pool": pools,
        "pool_prefix": (False,),
        "norm": ("before",),
        "representation": (0,) if dino or not cfg.cls or cfg.classes else range(10**9),
        "head_bias": (True,),
        "distilled": (True, False) if kind == "deit" else (False,),
    }
    possible(cfg, wanted, FAMILIES[kind].model)
    return kind


def possible(cfg: Blocks, wanted: Mapping[str, Iterable[Any]], model: str) -> None:
    """Raise Error for a switch that is in no position that transformers' network has."""
    for key, values in wanted.items():
        if (value := getattr(cfg, key)) not in values:
            raise Error(f"transformers' {model} cannot be a network with {key}={value!r}; export it in its own dialect")


def read(bundle: Bundle) -> Spec | None:
    """The Spec of a folder whose config.json is transformers'; None where there is none."""
    if bundle.config is None:
        return None
    with blame(bundle.path.parent / "config.json"):
        kind, config, labels = _network(bundle.config, bundle)
    how = pictures.read(bundle, FAMILIES[kind].processor, config.image)
    name = bundle.path.resolve().parent.name
    return Spec(name, config, how, labels, Source("huggingface", reference=REFERENCE))


def _network(data: Mapping[str, Any], bundle: Bundle) -> tuple[str, ViTConfig, tuple[str, ...]]:
    kind = data.get("model_type")
    if kind in REFUSED:
        raise Error(f"model_type {kind!r} is not read: {REFUSED[kind]}. See `vitjax list` for what is")
    if kind not in FAMILIES:
        raise unknown("model_type", kind, [*FAMILIES, *TOWERS])
    dino = FAMILIES[kind].dino
    side = "dinov2" if dino else "vit"
    known = NETWORK | MLP[side] | OWN[side] | SILENT | ({"num_register_tokens"} if FAMILIES[kind].mask else set())
    understood(data, known, {"pooler_act": "tanh"})
    classes, labels = _classes(data)
    head = _head(data, FAMILIES[kind], bundle)
    width, heads = whole(data, "hidden_size", 768), whole(data, "num_attention_heads", 12)
    if data.get("head_dim") is not None and data["head_dim"] * heads != width:
        raise Error(f"head_dim {data['head_dim']!r} is not supported: only hidden_size / num_attention_heads")
    act = activation(data.get("hidden_act", "gelu"))
    config = ViTConfig(
        image=_size(data.get("image_size", 224)),
        patch=_side(data.get("patch_size", 14 if kind == "dinov2" else 16)),
        width=width,
        depth=whole(data, "num_hidden_layers", 12),
        heads=heads,
        mlp=_mlp(data, width) if dino else whole(data, "intermediate_size", 3072),
        classes=classes if head else 0,
        eps=data.get("layer_norm_eps", FAMILIES[kind].eps),
        act="silu" if data.get("use_swiglu_ffn") and dino else act,
        qkv_bias=data.get("qkv_bias", True),
        **_switches(kind, data, head, bundle),
    )
    if dino and not isinstance(config.image, int):
        raise Error(f"image_size {data['image_size']!r} is not supported: transformers' DINOv2 has squares only")
    return kind, config, labels if head else ()


def _switches(kind: str, data: Mapping[str, Any], head: str, bundle: Bundle) -> dict[str, Any]:
    """What its kind of network, its class and its tensors say beyond the numbers."""
    resampled = {"interpolation": "cubic" if kind == "dinov2_with_registers" else "cubic-pytorch"}
    if kind == "ijepa":
        return resampled | {"cls": False, "pool": "mean"}
    if not FAMILIES[kind].dino:
        pooler = next((t.shape for name, t in bundle.tensors.items() if name.endswith("pooler.dense.weight")), ())
        representation = pooler[0] if len(pooler) == 2 and not head else 0
        taught = {"registers": 1, "distilled": head == HEADS[1]} if kind == "deit" else {}
        return resampled | taught | {"representation": representation}
    gated = {"gated": True, "packed": True} if data.get("use_swiglu_ffn") else {}
    scale = {"layer_scale": float(data.get("layerscale_value", 1.0)), "pool": "token_mean" if head else "token"}
    if kind == "dinov2":
        return resampled | gated | scale
    if not (registers := whole(data, "num_register_tokens", 4)):
        raise Error("num_register_tokens 0 is not supported: say model_type 'dinov2', which that network is")
    return resampled | gated | scale | {"registers": registers, "positions": "cls"}


def _head(data: Mapping[str, Any], kind: Family, bundle: Bundle) -> str:
    """Which of HEADS the network has, by its class; "" for the bare model. Old files name no class: then by the tensors."""
    named = data.get("architectures")
    if not named:
        found = [f"{name}.weight" in bundle.tensors for name in ("classifier", "cls_classifier")]
        return next((head for head, here in zip(HEADS, found, strict=True) if here), "")
    classes = {kind.model + end: head for end, head in {"Model": "", "Backbone": "", **{head: head for head in HEADS}}.items()}
    if len(named) != 1 or named[0] not in classes:
        raise Error(f"architectures {named!r} is not supported: only one of {', '.join(classes)}")
    return classes[named[0]]


def _classes(data: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """How many, and their names where these say more than LABEL_0."""
    names = data.get("id2label")
    if names is None:
        return (2 if data.get("num_labels") is None else whole(data, "num_labels", 2)), ()
    labels = tuple(str(names[key]) for key in sorted(names, key=int))
    if sorted(map(int, names)) != list(range(len(names))) or data.get("num_labels", len(names)) not in (len(names), None):
        raise Error(f"id2label must name every class, from 0 to {data.get('num_labels', len(names))} - 1")
    return len(labels), () if all(re.fullmatch(r"LABEL_\d+", label) for label in labels) else labels


def understood(data: Mapping[str, Any], known: set[str], only: Mapping[str, Any]) -> None:
    """Raise Error for a key that nobody knows, and for one with another value than the `only` one that there is here."""
    only = {"num_channels": 3, "pruned_heads": {}} | dict(only)
    for key in data:
        if key not in known | {*only}:
            raise Error(f"{unknown('key', key, known)}; remove it if it means nothing for the network")
    for key, value in only.items():
        if data.get(key, value) not in (value, None):
            raise Error(f"{key} {data[key]!r} is not supported: only {value!r}")


def activation(name: Any) -> Act:
    """Ours, by their name."""
    if name not in ACTS:
        raise unknown("hidden_act", name, ACTS)
    return ACTS[name]


def whole(data: Mapping[str, Any], key: str, default: int = 0) -> int:
    """A number that counts something."""
    value = data.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Error(f"{key} must be a whole number, not {value!r}")
    return value


def _size(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value) if len(value) > 1 else value[0]
    return value


def _side(value: Any) -> Any:
    if isinstance(value, list) and len(set(value)) == 1:
        return value[0]
    return value


def _mlp(data: Mapping[str, Any], width: int) -> int:
    return _hidden(int(width * data.get("mlp_ratio", 4)), bool(data.get("use_swiglu_ffn")))


def _hidden(mlp: int, gated: bool) -> int:
    """A gated MLP has two thirds of the width, in steps of 8."""
    return (mlp * 2 // 3 + 7) // 8 * 8 if gated else mlp


def write(spec: Spec) -> dict[str, dict[str, Any]]:
    """config.json and preprocessor_config.json, with which transformers builds this network and its pictures."""
    cfg, kind = spec.vit, model_type(spec.vit)
    names = FAMILIES[kind]
    # Without classes these still are the network of a class with a head: it gives both tokens.
    headed = bool(cfg.classes) or cfg.distilled or cfg.pool == "token_mean"
    labels = spec.labels or tuple(f"LABEL_{i}" for i in range(cfg.classes))
    config = {
        "architectures": [names.model + (HEADS[cfg.distilled] if headed else "Model")],
        "model_type": kind,
        "hidden_size": cfg.width,
        "num_hidden_layers": cfg.depth,
        "num_attention_heads": cfg.heads,
        "hidden_act": WRITTEN[cfg.act],
        "layer_norm_eps": cfg.eps,
        "image_size": cfg.image if isinstance(cfg.image, int) else list(cfg.image),
        "patch_size": cfg.patch,
        "num_channels": 3,
        "qkv_bias": cfg.qkv_bias,
    }
    if headed:
        config |= {
            "id2label": {str(i): label for i, label in enumerate(labels)},
            "label2id": {label: i for i, label in enumerate(labels)},
        }
    config |= _written_dino(cfg) if names.dino else {"intermediate_size": cfg.mlp}
    if cfg.representation:
        config |= {"pooler_output_size": cfg.representation, "pooler_act": "tanh"}
    return {"config.json": config, "preprocessor_config.json": pictures.write(spec.preprocess)}


def _written_dino(cfg: ViTConfig) -> dict[str, Any]:
    if len(set(hw(cfg.image))) > 1:
        raise Error(f"transformers' DINOv2 has squares only, not pictures of {cfg.image}; export it in its own dialect")
    ratio = next((n for n in range(1, 1 + 2 * cfg.mlp) if _hidden(n * cfg.width, cfg.gated) == cfg.mlp), None)
    if ratio is None:
        raise Error(
            f"transformers' DINOv2 cannot have mlp={cfg.mlp}: its mlp_ratio to width={cfg.width} is a whole "
            "number; export it in its own dialect"
        )
    out = {"mlp_ratio": ratio, "use_swiglu_ffn": cfg.gated, "layerscale_value": cfg.layer_scale}
    return out | ({"num_register_tokens": cfg.registers} if cfg.registers else {"use_mask_token": False})
