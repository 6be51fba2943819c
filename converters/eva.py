"""The dialect of BAAI's own code: what EVA-01, EVA-02 and EVA-CLIP (baaivision/EVA) call their tensors.

An image tower is timm's `Eva` under a few other names (EVA-01/eva and EVA-02/asuka, modeling_finetune.py; EVA-CLIP/rei/eva_clip,
eva_vit_model.py), in a CLIP under `visual.`; its text tower is open_clip's. Files of EVA-02 hold the table of rotary positions
too, and once more for every block: copies of what the network computes, which are compared with it, and written again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from vitjax import variants
from vitjax.config import CLIPConfig, Config, Error, TextConfig, ViTConfig
from vitjax.layers import places

from . import open_clip, timm
from .dialect import Dialect
from .files import Bundle
from .mapping import Rule, under
from .open_clip import OPEN_CLIP, TEXTS
from .stored import Flat, Stored, Tensor

# What of an image tower none of the three has; these are the values that they run.
WITHOUT: dict[str, Any] = {
    "cls": True, "registers": 0, "patch_bias": True, "bias": True, "qk_norm": False, "norm_pre": False, "head_bias": True,
    "representation": 0, "distilled": False, "pool_act": None, "pool_eps": None,
}  # fmt: skip
# ... and of a text tower, beyond what open_clip's has not
WORDS: dict[str, Any] = {"pool": "argmax", "head_bias": False}

# timm's names of a block's tensors -> BAAI's
NAMES = {"attn.q_proj.bias": "attn.q_bias", "attn.v_proj.bias": "attn.v_bias", "attn.norm.": "attn.inner_attn_ln."}
MLP = {"mlp.norm.": "mlp.ffn_ln."}
SWIGLU = MLP | {"mlp.fc1_g.": "mlp.w1.", "mlp.fc1_x.": "mlp.w2.", "mlp.fc1.": "mlp.w12.", "mlp.fc2.": "mlp.w3."}

TABLE = re.compile(r"(visual\.)?(blocks\.\d+\.attn\.)?rope\.freqs_(cos|sin)")
MASKED = "mask_token", r"lm_head\.(weight|bias)"  # of masked image modelling: neither a picture's tokens nor its classes
RELATIVE = re.compile(r"\brelative_position_")


def rules(cfg: Config) -> list[Rule]:
    """The tensors of a network; those of a tower by itself have the names of its own module."""
    match cfg:
        case ViTConfig():
            return _image(cfg)
        case TextConfig():
            return _text(cfg)
        case CLIPConfig():
            _check_pair(cfg)
            out = under("image/", "visual.", _image(cfg.image)) + under("text/", "text.", _text(cfg.text))
            return [*out, Rule("logit_scale", "logit_scale", " -> ")]


def _image(cfg: ViTConfig) -> list[Rule]:
    said = [key for key, value in WITHOUT.items() if getattr(cfg, key) != value]
    said += ["qkv_bias"] if cfg.qkv_bias is True else []  # a key never has one
    said += ["act"] if cfg.act != ("silu" if cfg.gated else "gelu") else []
    said += ["positions"] if cfg.positions not in ("all", "none") else []
    said += ["pool", "norm"] if (cfg.pool, cfg.norm) not in (("token", "before"), ("mean", "after")) else []
    # `subln` splits query, key and value, and norms within the MLP, but for xformers' packed one; EVA-CLIP, in attention, too
    split = not cfg.qkv_fused
    said += ["qkv_fused", "mlp_norm"] if cfg.mlp_norm != (split and not (cfg.gated and cfg.packed)) else []
    said += ["attn_norm"] if cfg.attn_norm and not (split and cfg.gated and not cfg.packed) else []
    _refuse("image towers", cfg, said)
    # where neither query nor value has a bias, timm may call a network no `Eva`
    out = timm.tensors(replace(cfg, qkv_bias="qv"))
    kept = [rule for rule in out if cfg.qkv_bias or not re.search(r"attn/(query|value)/bias$", rule.ours)]
    return [rule._replace(theirs=_name(rule.theirs, NAMES | (SWIGLU if cfg.gated else MLP))) for rule in kept]


def _name(timms: str, names: Mapping[str, str]) -> str:
    found = next((part for part in names if part in timms), None)
    return timms.replace(found, names[found]) if found else timms


def _text(cfg: TextConfig) -> list[Rule]:
    said = [key for key, value in WORDS.items() if getattr(cfg, key) != value]
    said += ["act"] if cfg.act not in ("gelu", "quick_gelu") else []
    said += ["classes"] if not cfg.classes else []
    _refuse("text towers", cfg, said)
    return open_clip.rules(cfg)


def _check_pair(cfg: CLIPConfig) -> None:
    """What EVA-CLIP's image towers are not, though EVA-01 or EVA-02 has such."""
    said = [] if cfg.image.classes else ["classes"]
    said += ["packed"] if cfg.image.gated and cfg.image.packed else []
    said += ["attn_norm"] if cfg.image.attn_norm == cfg.image.qkv_fused else []
    said += ["pool_prefix"] if cfg.image.pool == "mean" and not cfg.image.pool_prefix else []
    _refuse("CLIPs, in their image towers,", cfg.image, said)
    _refuse("CLIPs", cfg, ["sigmoid"] if cfg.sigmoid else [])


def _refuse(what: str, cfg: Any, said: list[str]) -> None:
    """Raise Error for a network that BAAI's code has not, by the switches in which it differs."""
    if said:
        listed = ", ".join(f"{key}={getattr(cfg, key)!r}" for key in said)
        raise Error(f"EVA's {what} cannot be such a network: {listed}; export it in its own dialect")


def tables(cfg: Config) -> dict[str, np.ndarray]:
    """The rotary positions of the patches, under every name that BAAI's modules have them, which strict loading wants."""
    if isinstance(cfg, CLIPConfig):
        return {f"visual.{name}": table for name, table in tables(cfg.image).items()}
    if not isinstance(cfg, ViTConfig) or not cfg.rotary:
        return {}
    sin, cos = places(cfg)[:, cfg.prefix :]
    modules = "rope", *(f"blocks.{i}.attn.rope" for i in range(cfg.depth))
    return {f"{module}.freqs_{name}": table for module in modules for name, table in (("cos", cos), ("sin", sin))}


def respell(tensors: Flat, cfg: Config) -> dict[str, Tensor]:
    """The tensors of what is wanted under the names of its modules, without the copies of tables that it computes."""
    own, other = {"vit": ("visual.", "text."), "text": ("text.", "visual.")}.get(cfg.kind, ("", ""))
    masked = any(name in tensors for name in ("mask_token", "lm_head.weight"))
    # of masked image modelling, which norms all tokens: that becomes the norm of their mean, as timm's eva.py reads it
    norm = "fc_norm." if masked and isinstance(cfg, ViTConfig) and cfg.norm == "after" else "norm."
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        spelt = f"text.{name}" if TEXTS.match(name) and not name.startswith("text.") else name  # as older files have it
        spelt = "logit_scale" if name == "text.logit_scale" else spelt
        if own and (spelt == "logit_scale" or spelt.startswith(other)):
            continue
        spelt = re.sub(r"^norm\.", norm, spelt.removeprefix(own))
        out[name if spelt in tensors else spelt] = tensor  # where both are there, let the other be named
    return _without_tables(out, cfg)


def _without_tables(tensors: dict[str, Tensor], cfg: Config) -> dict[str, Tensor]:
    """The tensors without copies of the tables. Raise Error for a copy with other numbers than we compute."""
    known = tables(cfg)
    copies = {name: tensor for name, tensor in tensors.items() if TABLE.fullmatch(name)}
    rest = {name: tensor for name, tensor in tensors.items() if name not in copies}
    odd = [name for name in copies if name not in known or known[name].shape != tuple(copies[name].shape)]
    if odd:  # of another grid, as other tensors will be: to be reported with them. Two say it all, of several dozen
        return rest | {name: copies[name] for name in sorted(odd, key=len)[:2]}
    for kind in "cos", "sin":
        _check({name: copy for name, copy in copies.items() if name.endswith(kind)}, known, cfg)
    return rest


def _check(copies: Mapping[str, Tensor], known: Mapping[str, np.ndarray], cfg: Any) -> None:
    """Raise Error unless the copies are our table, as exactly as their dtype has it, and all of them the same."""
    found = {name: np.asarray(copy) for name, copy in copies.items()}
    cfg = cfg.image if isinstance(cfg, CLIPConfig) else cfg
    off = {name: np.abs(copy.astype(np.float64) - known[name]).max() for name, copy in found.items()}
    wrong = [name for name, copy in found.items() if not off[name] <= _rounding(copy.dtype, cfg)]
    first = next((name for name in found if name not in wrong), None)
    # in one module that all blocks share, they cannot differ: not by a bit
    other = first and next((name for name, copy in found.items() if copy.tobytes() != found[first].tobytes()), None)
    if not wrong and not other:
        return
    name = wrong[0] if wrong else str(other)
    path = f"{tensor.path}: " if isinstance(tensor := copies[name], Stored) else ""
    if first is not None:
        by = np.abs(found[name].astype(np.float64) - found[first].astype(np.float64)).max()
        raise Error(
            f"{path}{name} and {first} are copies of one table, but differ by up to {by:.2g}: one of them is damaged, or two "
            "files were merged. Get the file again from its publisher"
        )
    raise Error(
        f"{path}{name} is up to {off[name]:.2g} off from the rotary positions of image={cfg.image}, patch={cfg.patch}, "
        f"heads={cfg.heads}, rotary_grid={cfg.rotary_grid}, and so are its copies: this network was trained with another "
        "image size or rotary_grid (pt_hw_seq_len in EVA's code). Give those with --config (config=...), or another --variant"
    )


def _rounding(dtype: np.dtype, cfg: ViTConfig) -> float:
    """How far two correct tables can be apart: a sine as its dtype has it, and an angle that float32 has to a few last bits."""
    largest = max(cfg.grid) if cfg.rotary_grid is None else np.max(cfg.rotary_grid)
    held = float(jnp.finfo(dtype).eps) / 4 if jnp.issubdtype(dtype, jnp.floating) else 0.0
    return held + 4 * float(np.finfo(np.float32).eps) * max(1.0, float(largest))


def reading(row: Any, tensors: Flat) -> Any:
    """A row as BAAI's code runs it: no bias of keys (timm's EVA-L has one, of zeros), positions by torch's bicubic resizing."""
    if isinstance(row, CLIPConfig):
        return replace(row, image=reading(row.image, tensors))
    if isinstance(row, TextConfig):
        return row
    return replace(row, qkv_bias="qv" if row.qkv_bias is True else row.qkv_bias, interpolation="cubic-pytorch")


def refuse(bundle: Bundle) -> None:
    """Nothing in such a file says what network it holds; but some say that it is none of ours."""
    if name := next((name for name in bundle.tensors if RELATIVE.search(name)), None):
        raise Error(
            f"{bundle.path} holds relative position biases ({name}), as BEiT and some of EVA's fine-tunings have; vitjax has no "
            "such network: give a file that was trained without (use_rel_pos_bias, use_shared_rel_pos_bias)"
        )


def recognise(tensors: Flat) -> bool:
    """EVA-01's bare files are timm's to the last name, and left to it, unless they are of masked image modelling."""

    def has(pattern: str) -> bool:
        return any(re.fullmatch(pattern, name) for name in tensors)

    if has(TABLE.pattern) or has(r"visual\.(cls_token|pos_embed|blocks\.0\.attn\.[qv]_bias)"):
        return True
    return has(r"blocks\.0\.attn\.[qv]_bias") and has(r"blocks\.0\.(attn\.q_proj|mlp\.w(1|12))\..*|lm_head\..*")


def _rows() -> dict[str, Config]:
    every = variants.TIMM | variants.CLIPS
    return {name: row for name, row in every.items() if name.removeprefix("clip_").startswith("eva")}


EVA = Dialect(
    name="eva",
    reference="baaivision/EVA 5623d08",
    rules=rules,
    tables=tables,
    recognise=recognise,
    read_settings=refuse,
    reading=reading,
    respell=respell,
    kinds=(ViTConfig, TextConfig, CLIPConfig),
    rows=_rows(),
    ignore=(*MASKED, *OPEN_CLIP.ignore),
    pictures=OPEN_CLIP.pictures,
)
