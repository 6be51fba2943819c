"""timm's config.json (architecture, model_args, pretrained_cfg) to a Spec, and back; timm/models/_hub.py is its definition.

What the file says wins over our row of the architecture, as in timm. What we do not understand is an error. What a network's
class is called with, model_args among it, is in timm_arguments.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vitjax import variants
from vitjax.config import Error, Preprocess, Spec, ViTConfig, hw, unknown

from .files import Bundle
from .json_file import blame
from .timm_arguments import arguments, is_eva, network

TOP = {"architecture", "num_classes", "num_features", "global_pool", "model_args", "pretrained_cfg"}
LABELS = {"label_names", "label_descriptions", "labels"}
PRETRAINED = LABELS | {"num_classes", "input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std", "tag", "license"}
SILENT = {  # says nothing about the network or its pictures
    "url", "file", "hf_hub_id", "hf_hub_filename", "source", "custom_load", "architecture", "fixed_input_size",
    "test_input_size", "min_input_size", "test_crop_pct", "pool_size", "test_pool_size", "first_conv", "classifier",
    "description", "origin_url", "paper_name", "paper_ids", "notes", "state_dict",
}  # fmt: skip
OURS = {"vit_pico_patch4_32"}  # a row that timm has not
FITS = {"center": "crop", "squash": "squash", "border": "border"}


def read(bundle: Bundle) -> Spec | None:
    """The Spec of a folder whose config.json is timm's; None where there is none, or it is another library's."""
    if bundle.config is None or "architecture" not in bundle.config:
        return None
    with blame(bundle.path.parent / "config.json"):
        return _spec(bundle, bundle.config)


def _spec(bundle: Bundle, data: dict[str, Any]) -> Spec:
    nested = "pretrained_cfg" in data  # older files are one flat object
    cfg = dict(data["pretrained_cfg"]) if nested else {k: v for k, v in data.items() if k not in TOP - {"num_classes"}}
    _known(data, TOP | LABELS if nested else TOP | PRETRAINED | SILENT)
    _known(cfg, PRETRAINED | SILENT)
    cfg |= {key: data[key] for key in (*LABELS, "num_classes") if key in data}
    arch = data["architecture"]
    name = arch + (f".{cfg['tag']}" if cfg.get("tag") else "")
    row = variants.spec(name if name in variants.WEIGHTS else arch)
    config = network(row.vit, cfg, data.get("model_args") or {}, bundle.tensors)
    for key, ours in (("num_features", config.width), ("global_pool", arguments(config)["global_pool"])):
        if data.get(key, ours) != ours:
            raise Error(
                f"{key} {data[key]!r} contradicts {arch} with these model_args, which has {ours!r}: correct one "
                "of them in config.json"
            )
    labels = _labels(cfg) or (row.labels if config.classes == row.config.classes else ())
    if labels and len(labels) != config.classes:
        raise Error(f"{len(labels)} label_names for {config.classes} classes: correct num_classes or label_names in config.json")
    ours = next((own for own in OURS if replace(variants.TIMM[own], classes=config.classes) == config), arch)
    source = replace(row.source, dialect="timm", licence=cfg.get("license") or row.source.licence)
    return Spec(ours + name.removeprefix(arch), config, _preprocess(row.preprocess, cfg, config), labels, source)


def _known(data: dict[str, Any], known: set[str]) -> None:
    for key in data:
        if key not in known:
            raise Error(f"{unknown('key', key, known)}; remove it if it means nothing for the network")


def _labels(cfg: dict[str, Any]) -> tuple[str, ...]:
    """A class's description if it has one, else its name."""
    names = cfg.get("label_names") or cfg.get("labels") or []
    if isinstance(names, dict):  # {"0": name}
        names = [names[key] for key in sorted(names, key=int)]
    descriptions = cfg.get("label_descriptions") or {}
    return tuple(str(descriptions.get(name, name)) for name in names)


def _preprocess(row: Preprocess, cfg: dict[str, Any], config: ViTConfig) -> Preprocess:
    mode, resample = cfg.get("crop_mode"), cfg.get("interpolation") or row.resample
    if mode is not None and mode not in FITS:
        raise unknown("crop_mode", mode, FITS)
    if resample not in ("bicubic", "bilinear"):
        raise Error(f"interpolation {resample!r} is not supported: only bicubic and bilinear")
    mean, std = (tuple(map(float, cfg.get(key) or default)) for key, default in (("mean", row.mean), ("std", row.std)))
    crop = float(cfg.get("crop_pct") or row.crop)
    return Preprocess(config.image, crop, FITS[mode] if mode else row.fit, resample, mean, std)  # type: ignore[arg-type]


def write(spec: Spec) -> dict[str, Any]:
    """The config.json with which timm builds this network and its preprocessing."""
    arch, how, config = _architecture(spec), spec.preprocess, spec.vit
    row = variants.TIMM[arch]
    args, usual = arguments(config), arguments(row)
    said = {"num_classes", "in_chans", "drop_path_rate"} | ({"mlp_ratio"} if _sizes(config) == _sizes(row) else set())
    tag = spec.name.partition(".")[2]
    pretrained = {
        "tag": tag,
        "custom_load": False,
        "input_size": [3, *hw(config.image)],
        "fixed_input_size": True,
        "interpolation": how.resample,
        "crop_pct": how.crop,
        "crop_mode": {ours: theirs for theirs, ours in FITS.items()}[how.fit],
        "mean": list(how.mean),
        "std": list(how.std),
        "num_classes": config.classes,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        "license": spec.source.licence,
    }
    top = {
        "architecture": arch,
        "num_classes": config.classes,
        "num_features": config.width,
        "global_pool": args["global_pool"],
        "model_args": {key: value for key, value in args.items() if key not in said and value != usual[key]},
        "pretrained_cfg": pretrained,
    }
    return top | ({"label_names": list(spec.labels)} if spec.labels else {})


def _architecture(spec: Spec) -> str:
    """The checkpoint's own architecture, or else one that differs from it only in what arguments can say."""
    own = spec.name.partition(".")[0]
    for arch in (own, *variants.TIMM):
        if (row := variants.TIMM.get(arch)) and arch not in OURS and _class(row) == _class(spec.vit):
            return arch
    raise Error(
        f"timm has no architecture like {spec.name}: {_class(spec.vit)}; export the tensors alone, to a .safetensors file"
    )


def _class(cfg: ViTConfig) -> dict[str, Any]:
    """What of a network timm gives as a class, which no file can say."""
    said = ("eps",) if is_eva(cfg) else ("gated", "packed", "norm_post", "eps")
    return {"class": "Eva" if is_eva(cfg) else "VisionTransformer"} | {key: getattr(cfg, key) for key in said}


def _sizes(cfg: ViTConfig) -> tuple[int, int]:
    return cfg.width, cfg.mlp
