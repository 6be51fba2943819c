"""open_clip's dialect, and OpenAI's: what `CLIP` and `CustomTextCLIP` of open_clip/model.py (3.3) call their tensors.

An image tower is open_clip's own `VisionTransformer`, which is OpenAI's (clip/model.py), or one of timm's under `visual.trunk`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from vitjax import variants
from vitjax.config import TOWERS, CLIPConfig, Error, Preprocess, Spec, TextConfig, ViTConfig

from . import open_clip_settings as settings
from . import timm
from .dialect import Dialect
from .files import Bundle
from .mapping import Rule, dense, norm, under
from .open_clip_inputs import MEAN, STD
from .open_clip_settings import REFERENCE, is_custom, is_native
from .stored import Flat, Made, Tensor

KNOWN = (  # only these spellings have them: an image tower of open_clip's, one of timm's, a text tower
    "visual.conv1.weight", "visual.trunk.patch_embed.proj.weight", "token_embedding.weight", "text.token_embedding.weight",
)  # fmt: skip
TEXTS = re.compile(r"(text\.)?(token_embedding|positional_embedding|transformer|ln_final|text_projection|attn_mask)\b")
SCALES = ("logit_scale", "logit_bias")
# OpenAI's archives hold these beside the parameters (clip/model.py, build_model)
SIZES = ("input_resolution", "context_length", "vocab_size")
REFUSED = {
    r"visual\.(layer1|attnpool)\.": "image tower is a ResNet",
    r"visual\.trunk\.(stem|stages|layers|patch_embed\.backbone)\b": "image tower has convolutions or windows",
    r"text_decoder\.|visual\.attn_pool\.": "text tower writes texts, as CoCa does",
    r"text\.transformer\.(?!resblocks)": "text tower is one of transformers'",
}


def rules(cfg: CLIPConfig | ViTConfig | TextConfig) -> list[Rule]:
    """The tensors of a network; of a tower by itself, those that it has in the whole."""
    match cfg:
        case ViTConfig():
            return _image(cfg)
        case TextConfig():
            return _text(cfg)
        case CLIPConfig():
            out = under("image/", "", _image(cfg.image)) + under("text/", "text." if is_custom(cfg) else "", _text(cfg.text))
            return out + [Rule(name, name, " -> ") for name in SCALES[: 1 + cfg.sigmoid]]


def _image(cfg: ViTConfig) -> list[Rule]:
    if not is_native(cfg):
        return _trunk(cfg)
    out = [Rule("patch/kernel", "visual.conv1.weight", "o c h w -> h w c o"), Rule("cls", "visual.class_embedding", "c -> c")]
    out += [Rule("positions", "visual.positional_embedding", "n c -> n c")]
    out += norm("norm_pre", "visual.ln_pre") if cfg.norm_pre else []
    out += _blocks(cfg, "visual.transformer.resblocks.{i}") + norm("norm", "visual.ln_post")
    return out + ([Rule("head/kernel", "visual.proj", "c k -> c k")] if cfg.classes else [])


def _trunk(cfg: ViTConfig) -> list[Rule]:
    """A tower of timm's, whose projection is timm's head, or, without a bias, a layer of open_clip's (timm_model.py)."""
    if cfg.classes and cfg.head_bias:
        return under("", "visual.trunk.", timm.rules(cfg))
    out = under("", "visual.trunk.", timm.rules(replace(cfg, classes=0)))
    return out + (dense("head", "visual.head.proj", bias=False) if cfg.classes else [])


def _text(cfg: TextConfig) -> list[Rule]:
    settings.check_text(cfg)
    out = [Rule("embedding", "token_embedding.weight", "v c -> v c"), Rule("positions", "positional_embedding", "n c -> n c")]
    out += _blocks(cfg, "transformer.resblocks.{i}") + norm("norm", "ln_final")
    if cfg.classes and cfg.head_bias:  # a Linear layer, else a bare matrix
        return out + dense("head", "text_projection")
    return out + ([Rule("head/kernel", "text_projection", "c k -> c k")] if cfg.classes else [])


def _blocks(cfg: ViTConfig | TextConfig, theirs: str) -> list[Rule]:
    ours, attn = "blocks/attn", f"{theirs}.attn"
    out = norm("blocks/norm1", f"{theirs}.ln_1") + norm("blocks/norm2", f"{theirs}.ln_2")
    out += [
        Rule(ours + "/{query,key,value}/kernel", f"{attn}.in_proj_weight", "(part head d) c -> part c head d"),
        Rule(ours + "/{query,key,value}/bias", f"{attn}.in_proj_bias", "(part head d) -> part head d"),
        Rule(f"{ours}/out/kernel", f"{attn}.out_proj.weight", "c (head d) -> head d c"),
        Rule(f"{ours}/out/bias", f"{attn}.out_proj.bias", "c -> c"),
    ]
    if cfg.layer_scale is not None:
        out += [Rule(f"blocks/scale{n}", f"{theirs}.ls_{n}.gamma", "c -> c") for n in (1, 2)]
    return out + dense("blocks/mlp/up", f"{theirs}.mlp.c_fc") + dense("blocks/mlp/down", f"{theirs}.mlp.c_proj")


def respell(tensors: Flat, cfg: CLIPConfig | ViTConfig | TextConfig) -> dict[str, Tensor]:
    """The tensors of what is wanted, those of the text as the network's own class names them."""
    whole, image = isinstance(cfg, CLIPConfig), cfg.image if isinstance(cfg, CLIPConfig) else cfg
    custom = isinstance(cfg, CLIPConfig) and is_custom(cfg)
    timms = isinstance(image, ViTConfig) and image.head_bias and not is_native(image)
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tower = ViTConfig if name.startswith("visual.") else TextConfig if TEXTS.match(name) else None
        if not whole and (name in SCALES or tower not in (None, type(cfg))):
            continue
        spelt = name
        if name in SCALES and tuple(tensor.shape) == (1,):  # nonscalar_logit_scale
            tensor = Made((), tensor.dtype, lambda tensor=tensor: np.asarray(tensor)[0])
        elif tower is TextConfig:
            spelt = "text." * custom + name.removeprefix("text.")
        elif timms:  # timm_proj_bias: the same as timm's own head
            spelt = name.replace("visual.head.proj.", "visual.trunk.head.")
        out[name if spelt in tensors else spelt] = tensor  # where both are there, let the other be named
    return out


def read_settings(bundle: Bundle) -> Spec | None:
    """What open_clip_config.json says, if it is there; what has towers of another kind is refused by name first."""
    _refuse(bundle)
    return settings.read(bundle)


def _refuse(bundle: Bundle) -> None:
    if found := _refused(bundle.tensors):
        name, why = found
        raise Error(f"{bundle.path} is a CLIP whose {why} ({name}): not read; its towers must be Vision Transformers")


def _refused(tensors: Flat) -> tuple[str, str] | None:
    """A tensor that no network of ours has, and what it is a sign of."""
    return next(((name, why) for what, why in REFUSED.items() for name in tensors if re.match(what, name)), None)


def _recognise(tensors: Flat) -> bool:
    return any(name in tensors for name in KNOWN) or _refused(tensors) is not None


def _reading(cfg: Any, tensors: Flat) -> Any:
    """A row of timm's as CLIP's projection, which has no bias."""
    bare = replace(cfg, head_bias=False) if isinstance(cfg, ViTConfig) else None
    return bare if bare is not None and is_native(bare) else cfg


def _openai_rules(cfg: Any) -> list[Rule]:
    """OpenAI's network is the one from which open_clip's began."""
    image, text = (getattr(cfg, name) for name in TOWERS) if isinstance(cfg, CLIPConfig) else (cfg, cfg)
    plain = not (isinstance(cfg, CLIPConfig) and is_custom(cfg)) and image.layer_scale is text.layer_scale is None
    if isinstance(image, ViTConfig):
        plain &= is_native(image) and image.norm_pre and (image.pool, image.norm) == ("token", "before")
    if isinstance(text, TextConfig):
        plain &= text.causal and text.pool == "argmax" and not (text.classes and text.head_bias)
    if not plain:
        raise Error("OpenAI's CLIP is not such a network: export it in open_clip's dialect, or its own")
    return rules(cfg)


def _openai_settings(bundle: Bundle) -> None:
    """There are none; but they may be of a ResNet."""
    _refuse(bundle)


def _openai_reading(cfg: Any, tensors: Flat) -> Any:
    """OpenAI's code runs x * sigmoid(1.702 x) in both towers, whatever a row says."""
    cfg = _reading(cfg, tensors)
    if isinstance(cfg, CLIPConfig):
        return replace(cfg, image=replace(cfg.image, act="quick_gelu"), text=replace(cfg.text, act="quick_gelu"))
    return replace(cfg, act="quick_gelu")


OPEN_CLIP = Dialect(
    name="open_clip",
    reference=REFERENCE,
    rules=rules,
    recognise=_recognise,
    read_settings=read_settings,
    reading=_reading,
    respell=respell,
    write_settings=settings.write,
    kinds=(CLIPConfig, ViTConfig, TextConfig),
    rows=variants.CLIPS,
    ignore=(r"(text\.)?attn_mask",),  # a buffer of older files
    pictures=Preprocess(crop=1.0, mean=MEAN, std=STD),
    says_act=lambda config: False,
)
OPENAI = replace(
    OPEN_CLIP,
    name="openai",
    reference="openai/CLIP d05afc4",
    rules=_openai_rules,
    recognise=lambda tensors: all(name in tensors for name in SIZES),
    read_settings=_openai_settings,
    reading=_openai_reading,
    says_act=lambda config: True,
    write_settings=lambda spec: {},
    ignore=(*OPEN_CLIP.ignore, *SIZES),
)
