"""open_clip's dialect, and OpenAI's: what `CLIP` and `CustomTextCLIP` of open_clip/model.py (3.3) call their tensors.

An image tower is open_clip's own `VisionTransformer`, which is OpenAI's (clip/model.py), or one of timm's under `visual.trunk`.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from vitjax import variants
from vitjax.config import CLIPConfig, Error, Preprocess, Spec, TextConfig, ViTConfig

from . import open_clip_settings as settings
from . import timm
from .dialect import Dialect
from .files import Bundle
from .mapping import Rule, dense, norm, under
from .open_clip_settings import REFERENCE, is_custom, is_native
from .stored import Flat, Made, Tensor

PATCHES = ("visual.conv1.weight", "visual.trunk.patch_embed.proj.weight")
# OpenAI's archives hold these beside the parameters (clip/model.py, build_model)
SIZES = ("input_resolution", "context_length", "vocab_size")


def rules(cfg: CLIPConfig | ViTConfig | TextConfig) -> list[Rule]:
    """The tensors of a network; of a tower by itself, those that it has in the whole."""
    match cfg:
        case ViTConfig():
            return _image(cfg)
        case TextConfig():
            return _text(cfg)
        case CLIPConfig():
            out = under("image/", "", _image(cfg.image)) + under("text/", "text." if is_custom(cfg) else "", _text(cfg.text))
            out += [Rule("logit_scale", "logit_scale", " -> ")]
            return out + ([Rule("logit_bias", "logit_bias", " -> ")] if cfg.sigmoid else [])


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
    """The tensors of the towers that are wanted, those of the text as the network's own class names them."""
    custom = isinstance(cfg, CLIPConfig) and is_custom(cfg)
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        image, scale = name.startswith("visual."), name in ("logit_scale", "logit_bias")
        if not isinstance(cfg, CLIPConfig) and (scale or image != isinstance(cfg, ViTConfig)):
            continue
        if scale and tuple(tensor.shape) == (1,):  # nonscalar_logit_scale
            tensor = Made((), tensor.dtype, lambda tensor=tensor: np.asarray(tensor)[0])
        bare = name if image or scale else name.removeprefix("text.")
        spelt = f"text.{bare}" if custom and not (image or scale) else bare
        out[name if spelt in out else spelt] = tensor  # two of one name: let both be named
    return out


def read_settings(bundle: Bundle) -> Spec | None:
    """What open_clip_config.json says, if it is there; what has towers of another kind is refused by name first."""
    for what, why in REFUSED.items():
        if name := next((name for name in bundle.tensors if re.match(what, name)), None):
            raise Error(f"{bundle.path} is a CLIP whose {why} ({name}): not read; its towers must be Vision Transformers")
    return settings.read(bundle)


REFUSED = {
    r"visual\.(layer1|attnpool)\.": "image tower is a ResNet",
    r"text_decoder\.|visual\.attn_pool\.": "text tower writes texts, as CoCa does",
    r"visual\.trunk\.(stem|stages|layers)\.": "image tower is a convolutional or windowed network of timm's",
    r"text\.transformer\.(embeddings|encoder|shared)\b": "text tower is one of transformers'",
}


def is_openai(tensors: Flat) -> bool:
    return all(name in tensors for name in SIZES)


def _reading_openai(cfg: CLIPConfig | ViTConfig, tensors: Flat) -> CLIPConfig | ViTConfig:
    """OpenAI's code runs x * sigmoid(1.702 x) in both towers, whatever a row says."""
    cfg = _reading(cfg, tensors)
    if isinstance(cfg, CLIPConfig):
        return replace(cfg, image=replace(cfg.image, act="quick_gelu"), text=replace(cfg.text, act="quick_gelu"))
    return replace(cfg, act="quick_gelu")


def _reading(cfg: CLIPConfig | ViTConfig, tensors: Flat) -> CLIPConfig | ViTConfig:
    """A row of timm's as CLIP's projection, which has no bias."""
    return replace(cfg, head_bias=False) if isinstance(cfg, ViTConfig) and is_native(replace(cfg, head_bias=False)) else cfg


OPEN_CLIP = Dialect(
    name="open_clip",
    reference=REFERENCE,
    rules=rules,
    recognise=lambda tensors: any(name in tensors for name in PATCHES) or "visual.layer1.0.conv1.weight" in tensors,
    read_settings=read_settings,
    reading=_reading,
    respell=respell,
    write_settings=settings.write,
    kinds=(CLIPConfig, ViTConfig, TextConfig),
    rows=variants.CLIPS,
    ignore=(r"(text\.)?attn_mask",),  # a buffer of older files
    pictures=Preprocess(crop=1.0, mean=settings.MEAN, std=settings.STD),
    says_act=False,
)
OPENAI = replace(
    OPEN_CLIP,
    name="openai",
    reference="openai/CLIP d05afc4",
    recognise=is_openai,
    read_settings=lambda bundle: None,
    reading=_reading_openai,
    says_act=True,
    write_settings=lambda spec: {},
    ignore=SIZES,
)
