"""Every published checkpoint as a row: its classes, how its pictures are made, its licence and its file. Stdlib only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from .config import Preprocess, Source, Spec, ViTConfig, unknown

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Weights:
    """One published checkpoint."""

    classes: int
    crop: float
    architecture: str = ""  # its row of VARIANTS; "": the name up to the first dot
    _: KW_ONLY
    runs: Mapping[str, Any] = field(default_factory=dict)  # where its library runs that row otherwise: {"eps": 1e-12}
    size: int | None = None  # of its pictures; None: the architecture's
    mean: RGB
    std: RGB
    fit: Literal["crop", "squash", "border"] = "crop"
    resample: Literal["bicubic", "bilinear"] = "bicubic"
    labels: str | None = None  # a label set; None: the one of ImageNet's that has so many classes, if any
    licence: str = "apache-2.0"
    origin: str | None = None  # None: the repository of the same name, or timm's
    dialect: str = "timm"
    reference: str = "timm 1.0.31"
    key: str | None = None  # which of several sets of weights in the file
    sha256: str = ""  # of the file, where it is published

    def spec(self, name: str, config: ViTConfig) -> Spec:
        """Everything known of the checkpoint `name` of the architecture `config`."""
        # A quickgelu architecture runs the file of its plain sister, as that was trained.
        repository = name if self.architecture else f"timm/{name.replace('_quickgelu', '')}"
        origin = f"hf:{repository}" if self.origin is None else self.origin
        return Spec(
            name,
            replace(config, classes=self.classes, **self.runs),
            Preprocess(self.size or config.image, self.crop, self.fit, self.resample, self.mean, self.std),
            labels(IMAGENET.get(self.classes, "") if self.labels is None else self.labels),
            Source(self.dialect, origin, self.sha256, self.licence, self.reference),
        )


# fmt: off
half     = partial(Weights, mean=(0.5, 0.5, 0.5),                     std=(0.5, 0.5, 0.5))
imagenet = partial(Weights, mean=(0.485, 0.456, 0.406),               std=(0.229, 0.224, 0.225))
clip     = partial(Weights, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
raw      = partial(Weights, mean=(0.0, 0.0, 0.0),                     std=(1.0, 1.0, 1.0))
ijepa    = partial(imagenet, licence="cc-by-nc-4.0", key="encoder")
pico     = partial(half, fit="squash", resample="bilinear", 
                   labels="digits", licence="Apache-2.0", origin="", dialect="", reference="vitjax")

# transformers: LayerNorms of ViT and DeiT have eps 1e-12, pictures are squashed, positions resampled without antialiasing.
HF        = {"interpolation": "cubic-pytorch"}
HF_VIT    = HF | {"eps": 1e-12}
HF_REG4   = {"positions": "cls"}  # resampled with antialiasing
LINEAR    = {"pool": "token_mean"}
hf        = dict(dialect="huggingface", reference="transformers 5.23.0")
hf_vit    = partial(half,     **hf, runs=HF_VIT, fit="squash", resample="bilinear")
hf_768    = partial(hf_vit,   runs=HF_VIT | {"representation": 768})
hf_1024   = partial(hf_vit,   runs=HF_VIT | {"representation": 1024})
hf_1280   = partial(hf_vit,   runs=HF_VIT | {"representation": 1280})
hf_dino   = partial(imagenet, **hf, runs=HF_VIT, fit="squash", resample="bilinear")
hf_deit   = partial(imagenet, **hf, runs=HF_VIT, fit="squash")
hf_taught = partial(hf_deit,  runs=HF_VIT | {"registers": 1, "distilled": True})
hf_dino2  = partial(imagenet, **hf, runs=HF, size=224)  # smaller than those of the positions
hf_2lin   = partial(hf_dino2, runs=HF | LINEAR)
hf_reg4   = partial(hf_dino2, runs=HF_REG4)
hf_4lin   = partial(hf_reg4,  runs=HF_REG4 | LINEAR)

IJEPA = "https://dl.fbaipublicfiles.com/ijepa/%s.pth.tar"

# As timm 1.0.31 has them (default_cfgs of the same files); the first of an architecture is its default.
WEIGHTS: dict[str, Weights] = {
    #                                                                   classes  crop
    # augreg: arXiv:2106.10270, sam: 2106.01548, dino: 2104.14294, mae: 2111.06377, bamboo: 2203.07845, miil: 2104.10972
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k":                half    (  1000, 0.9),
    "vit_tiny_patch16_224.augreg_in21k":                        half    ( 21843, 0.9),
    "vit_tiny_patch16_384.augreg_in21k_ft_in1k":                half    (  1000, 1.0),
    "vit_small_patch32_224.augreg_in21k_ft_in1k":               half    (  1000, 0.9),
    "vit_small_patch32_224.augreg_in21k":                       half    ( 21843, 0.9),
    "vit_small_patch32_384.augreg_in21k_ft_in1k":               half    (  1000, 1.0),
    "vit_small_patch16_224.augreg_in21k_ft_in1k":               half    (  1000, 0.9),
    "vit_small_patch16_224.augreg_in1k":                        half    (  1000, 0.9),
    "vit_small_patch16_224.augreg_in21k":                       half    ( 21843, 0.9),
    "vit_small_patch16_224.dino":                               imagenet(     0, 0.9),
    "vit_small_patch16_384.augreg_in21k_ft_in1k":               half    (  1000, 1.0),
    "vit_small_patch16_384.augreg_in1k":                        half    (  1000, 1.0),
    "vit_small_patch8_224.dino":                                imagenet(     0, 0.9),
    "vit_base_patch32_224.augreg_in21k_ft_in1k":                half    (  1000, 0.9),
    "vit_base_patch32_224.augreg_in1k":                         half    (  1000, 0.9),
    "vit_base_patch32_224.orig_in21k":                          half    (     0, 0.9),
    "vit_base_patch32_224.augreg_in21k":                        half    ( 21843, 0.9),
    "vit_base_patch32_224.sam_in1k":                            half    (  1000, 0.9),
    "vit_base_patch32_384.augreg_in21k_ft_in1k":                half    (  1000, 1.0),
    "vit_base_patch32_384.augreg_in1k":                         half    (  1000, 1.0),
    "vit_base_patch16_224.augreg2_in21k_ft_in1k":               half    (  1000, 0.9),
    "vit_base_patch16_224.augreg_in21k_ft_in1k":                half    (  1000, 0.9),
    "vit_base_patch16_224.orig_in21k_ft_in1k":                  half    (  1000, 0.9),
    "vit_base_patch16_224.augreg_in1k":                         half    (  1000, 0.9),
    "vit_base_patch16_224.orig_in21k":                          half    (     0, 0.9),
    "vit_base_patch16_224.augreg_in21k":                        half    ( 21843, 0.9),
    "vit_base_patch16_224.sam_in1k":                            half    (  1000, 0.9),
    "vit_base_patch16_224.bamboo":                              clip    (115217, 1.0,  licence=""),
    "vit_base_patch16_224.dino":                                imagenet(     0, 0.9),
    "vit_base_patch16_224.mae":                                 imagenet(     0, 0.9,  licence="cc-by-nc-4.0"),
    "vit_base_patch16_384.augreg_in21k_ft_in1k":                half    (  1000, 1.0),
    "vit_base_patch16_384.orig_in21k_ft_in1k":                  half    (  1000, 1.0),
    "vit_base_patch16_384.augreg_in1k":                         half    (  1000, 1.0),
    "vit_base_patch8_224.augreg2_in21k_ft_in1k":                half    (  1000, 0.9),
    "vit_base_patch8_224.augreg_in21k_ft_in1k":                 half    (  1000, 0.9),
    "vit_base_patch8_224.augreg_in21k":                         half    ( 21843, 0.9),
    "vit_base_patch8_224.dino":                                 imagenet(     0, 0.9),
    "vit_large_patch32_224.orig_in21k":                         half    (     0, 0.9),
    "vit_large_patch32_384.orig_in21k_ft_in1k":                 half    (  1000, 1.0),
    "vit_large_patch16_224.augreg_in21k_ft_in1k":               half    (  1000, 0.9),
    "vit_large_patch16_224.orig_in21k":                         half    (     0, 0.9),
    "vit_large_patch16_224.augreg_in21k":                       half    ( 21843, 0.9),
    "vit_large_patch16_224.mae":                                imagenet(     0, 0.9,  licence="cc-by-nc-4.0"),
    "vit_large_patch16_384.augreg_in21k_ft_in1k":               half    (  1000, 1.0),
    "vit_huge_patch14_224.orig_in21k":                          half    (     0, 0.9),
    "vit_huge_patch14_224.mae":                                 imagenet(     0, 0.9,  licence="cc-by-nc-4.0"),
    "vit_base_patch16_224_miil.in21k":                          raw     ( 11221, 0.875, resample="bilinear"),
    "vit_base_patch16_224_miil.in21k_ft_in1k":                  raw     (  1000, 0.875, resample="bilinear"),
    # no class token
    "vit_medium_patch16_gap_240.sw_in12k":                      half    ( 11821, 0.95),
    "vit_medium_patch16_gap_256.sw_in12k_ft_in1k":              half    (  1000, 0.95),
    "vit_medium_patch16_gap_384.sw_in12k_ft_in1k":              half    (  1000, 0.95, fit="squash"),
    "vit_huge_patch14_gap_224.in1k_ijepa":                      ijepa   (     0, 0.9,  origin=IJEPA % "IN1K-vit.h.14-300e"),
    "vit_huge_patch14_gap_224.in22k_ijepa":                     ijepa   (     0, 0.9,  origin=IJEPA % "IN22K-vit.h.14-900e"),
    "vit_huge_patch16_gap_448.in1k_ijepa":                      ijepa   (     0, 1.0,  origin=IJEPA % "IN1K-vit.h.16-448px-300e"),
    "vit_giant_patch16_gap_224.in22k_ijepa":                    ijepa   (     0, 0.9,  origin=IJEPA % "IN22K-vit.g.16-600e"),
    # CLIP: a plain name means erf GELU, whatever the file was trained with; quickgelu is the same file, run as trained
    "vit_xsmall_patch16_clip_224.tinyclip_yfcc15m":             clip    (   512, 0.9,  licence="mit"),
    "vit_medium_patch32_clip_224.tinyclip_laion400m":           clip    (   512, 0.9,  licence="mit"),
    "vit_medium_patch16_clip_224.tinyclip_yfcc15m":             clip    (   512, 0.9,  licence="mit"),
    "vit_betwixt_patch32_clip_224.tinyclip_laion400m":          clip    (   512, 0.9,  licence="mit"),
    "vit_base_patch32_clip_224.laion2b_ft_in12k_in1k":          clip    (  1000, 0.9),
    "vit_base_patch32_clip_224.laion2b_ft_in1k":                clip    (  1000, 0.9),
    "vit_base_patch32_clip_224.openai_ft_in1k":                 clip    (  1000, 0.9),
    "vit_base_patch32_clip_224.laion2b":                        clip    (   512, 0.9),
    "vit_base_patch32_clip_224.laion400m_e32":                  clip    (   512, 0.9,  licence="mit"),
    "vit_base_patch32_clip_224.datacompxl":                     clip    (   512, 1.0),
    "vit_base_patch32_clip_224.metaclip_2pt5b":                 clip    (   512, 1.0,  licence="cc-by-nc-4.0"),
    "vit_base_patch32_clip_224.metaclip_400m":                  clip    (   512, 1.0,  licence="cc-by-nc-4.0"),
    "vit_base_patch32_clip_224.openai":                         clip    (   512, 0.9),
    "vit_base_patch32_clip_256.datacompxl":                     clip    (   512, 1.0),
    "vit_base_patch32_clip_384.laion2b_ft_in12k_in1k":          clip    (  1000, 1.0),
    "vit_base_patch32_clip_384.openai_ft_in12k_in1k":           clip    (  1000, 0.95, fit="squash"),
    "vit_base_patch32_clip_448.laion2b_ft_in12k_in1k":          clip    (  1000, 1.0),
    "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k":          clip    (  1000, 0.95),
    "vit_base_patch16_clip_224.openai_ft_in12k_in1k":           clip    (  1000, 0.95),
    "vit_base_patch16_clip_224.laion2b_ft_in1k":                clip    (  1000, 1.0),
    "vit_base_patch16_clip_224.openai_ft_in1k":                 clip    (  1000, 0.9),
    "vit_base_patch16_clip_224.laion2b_ft_in12k":               clip    ( 11821, 0.9),
    "vit_base_patch16_clip_224.openai_ft_in12k":                clip    ( 11821, 0.9),
    "vit_base_patch16_clip_224.laion2b":                        clip    (   512, 1.0),
    "vit_base_patch16_clip_224.laion400m_e32":                  clip    (   512, 1.0,  licence="mit"),
    "vit_base_patch16_clip_224.datacompxl":                     clip    (   512, 1.0),
    "vit_base_patch16_clip_224.dfn2b":                          clip    (   512, 1.0,  licence="apple-ascl"),
    "vit_base_patch16_clip_224.metaclip_2pt5b":                 clip    (   512, 1.0,  licence="cc-by-nc-4.0"),
    "vit_base_patch16_clip_224.metaclip_400m":                  clip    (   512, 1.0,  licence="cc-by-nc-4.0"),
    "vit_base_patch16_clip_224.openai":                         clip    (   512, 0.9),
    "vit_base_patch16_clip_384.laion2b_ft_in12k_in1k":          clip    (  1000, 1.0,  fit="squash"),
    "vit_base_patch16_clip_384.openai_ft_in12k_in1k":           clip    (  1000, 0.95, fit="squash"),
    "vit_base_patch16_clip_384.laion2b_ft_in1k":                clip    (  1000, 1.0,  fit="squash"),
    "vit_base_patch16_clip_384.openai_ft_in1k":                 clip    (  1000, 1.0,  fit="squash"),
    "vit_base_patch16_plus_clip_240.laion400m_e32":             clip    (   640, 1.0,  licence="mit"),
    "vit_large_patch14_clip_224.laion2b_ft_in12k_in1k":         half    (  1000, 1.0),
    "vit_large_patch14_clip_224.openai_ft_in12k_in1k":          clip    (  1000, 1.0),
    "vit_large_patch14_clip_224.laion2b_ft_in1k":               half    (  1000, 1.0),
    "vit_large_patch14_clip_224.openai_ft_in1k":                clip    (  1000, 1.0),
    "vit_large_patch14_clip_224.laion2b_ft_in12k":              half    ( 11821, 1.0),
    "vit_large_patch14_clip_224.openai_ft_in12k":               clip    ( 11821, 1.0),
    "vit_large_patch14_clip_224.laion2b":                       half    (   768, 1.0),
    "vit_large_patch14_clip_224.laion400m_e32":                 clip    (   768, 1.0,  licence="mit"),
    "vit_large_patch14_clip_224.datacompxl":                    clip    (   768, 1.0),
    "vit_large_patch14_clip_224.dfn2b_s39b":                    clip    (   768, 1.0,  licence="apple-ascl"),
    "vit_large_patch14_clip_224.dfn2b":                         clip    (   768, 1.0,  licence="apple-ascl"),
    "vit_large_patch14_clip_224.metaclip_2pt5b":                clip    (   768, 1.0,  licence="cc-by-nc-4.0"),
    "vit_large_patch14_clip_224.metaclip_400m":                 clip    (   768, 1.0,  licence="cc-by-nc-4.0"),
    "vit_large_patch14_clip_224.openai":                        clip    (   768, 1.0),
    "vit_large_patch14_clip_224.apple_mclip2_dfndr2b":          clip    (   768, 1.0,  licence="apple-amlr"),
    "vit_large_patch14_clip_336.laion2b_ft_in12k_in1k":         half    (  1000, 1.0,  fit="squash"),
    "vit_large_patch14_clip_336.openai_ft_in12k_in1k":          clip    (  1000, 1.0,  fit="squash"),
    "vit_large_patch14_clip_336.laion2b_ft_in1k":               half    (  1000, 1.0,  fit="squash"),
    "vit_large_patch14_clip_336.openai":                        clip    (   768, 1.0),
    "vit_huge_patch14_clip_224.laion2b_ft_in12k_in1k":          clip    (  1000, 1.0),
    "vit_huge_patch14_clip_224.laion2b_ft_in1k":                clip    (  1000, 1.0),
    "vit_huge_patch14_clip_224.laion2b_ft_in12k":               clip    ( 11821, 1.0),
    "vit_huge_patch14_clip_224.laion2b":                        clip    (  1024, 1.0),
    "vit_huge_patch14_clip_224.dfn5b":                          clip    (  1024, 1.0,  licence="apple-ascl"),
    "vit_huge_patch14_clip_224.metaclip2_worldwide":            clip    (  1024, 1.0,  licence="cc-by-nc-4.0"),
    "vit_huge_patch14_clip_224.metaclip_2pt5b":                 clip    (  1024, 1.0,  licence="cc-by-nc-4.0"),
    "vit_huge_patch14_clip_224.metaclip_altogether":            clip    (  1024, 1.0,  licence="cc-by-nc-4.0"),
    "vit_huge_patch14_clip_336.laion2b_ft_in12k_in1k":          clip    (  1000, 1.0,  fit="squash"),
    "vit_huge_patch14_clip_378.dfn5b":                          clip    (  1024, 1.0,  licence="apple-ascl"),
    "vit_huge_patch14_clip_378.metaclip2_worldwide":            clip    (  1024, 1.0,  fit="squash", licence="cc-by-nc-4.0"),
    "vit_giant_patch14_clip_224.laion2b":                       clip    (  1024, 1.0),
    "vit_gigantic_patch14_clip_224.laion2b":                    clip    (  1280, 1.0),
    "vit_gigantic_patch14_clip_224.metaclip2_worldwide":        clip    (  1280, 1.0,  licence="cc-by-nc-4.0"),
    "vit_gigantic_patch14_clip_224.metaclip_2pt5b":             clip    (  1280, 1.0,  licence="cc-by-nc-4.0"),
    "vit_gigantic_patch14_clip_378.metaclip2_worldwide":        clip    (  1280, 1.0,  fit="squash", licence="cc-by-nc-4.0"),
    "vit_base_patch32_clip_quickgelu_224.laion400m_e32":        clip    (   512, 0.9,  licence="mit"),
    "vit_base_patch32_clip_quickgelu_224.metaclip_2pt5b":       clip    (   512, 1.0,  licence="cc-by-nc-4.0"),
    "vit_base_patch32_clip_quickgelu_224.metaclip_400m":        clip    (   512, 1.0,  licence="cc-by-nc-4.0"),
    "vit_base_patch32_clip_quickgelu_224.openai":               clip    (   512, 0.9),
    "vit_base_patch16_clip_quickgelu_224.metaclip_2pt5b":       clip    (   512, 1.0,  licence="cc-by-nc-4.0"),
    "vit_base_patch16_clip_quickgelu_224.metaclip_400m":        clip    (   512, 1.0,  licence="cc-by-nc-4.0"),
    "vit_base_patch16_clip_quickgelu_224.openai":               clip    (   512, 0.9),
    "vit_large_patch14_clip_quickgelu_224.dfn2b":               clip    (   768, 1.0,  licence="apple-ascl"),
    "vit_large_patch14_clip_quickgelu_224.metaclip_2pt5b":      clip    (   768, 1.0,  licence="cc-by-nc-4.0"),
    "vit_large_patch14_clip_quickgelu_224.metaclip_400m":       clip    (   768, 1.0,  licence="cc-by-nc-4.0"),
    "vit_large_patch14_clip_quickgelu_224.openai":              clip    (   768, 1.0),
    "vit_large_patch14_clip_quickgelu_336.openai":              clip    (   768, 1.0),
    "vit_huge_patch14_clip_quickgelu_224.dfn5b":                clip    (  1024, 1.0,  licence="apple-ascl"),
    "vit_huge_patch14_clip_quickgelu_224.metaclip2_worldwide":  clip    (  1024, 1.0,  licence="cc-by-nc-4.0"),
    "vit_huge_patch14_clip_quickgelu_224.metaclip_2pt5b":       clip    (  1024, 1.0,  licence="cc-by-nc-4.0"),
    "vit_huge_patch14_clip_quickgelu_378.dfn5b":                clip    (  1024, 1.0,  licence="apple-ascl"),
    "vit_gigantic_patch14_clip_quickgelu_224.metaclip_2pt5b":   clip    (  1280, 1.0,  licence="cc-by-nc-4.0"),
    # residual post-norm, EVA-L, FlexiViT
    "vit_base_patch16_rpn_224.sw_in1k":                         half    (  1000, 0.9),
    "eva_large_patch14_196.in22k_ft_in22k_in1k":                clip    (  1000, 1.0,  licence="mit"),
    "eva_large_patch14_196.in22k_ft_in1k":                      clip    (  1000, 1.0,  licence="mit"),
    "eva_large_patch14_336.in22k_ft_in22k_in1k":                clip    (  1000, 1.0,  fit="squash", licence="mit"),
    "eva_large_patch14_336.in22k_ft_in1k":                      clip    (  1000, 1.0,  fit="squash", licence="mit"),
    "flexivit_small.1200ep_in1k":                               half    (  1000, 0.95),
    "flexivit_small.600ep_in1k":                                half    (  1000, 0.95),
    "flexivit_small.300ep_in1k":                                half    (  1000, 0.95),
    "flexivit_base.1200ep_in1k":                                half    (  1000, 0.95),
    "flexivit_base.600ep_in1k":                                 half    (  1000, 0.95),
    "flexivit_base.300ep_in1k":                                 half    (  1000, 0.95),
    "flexivit_base.1000ep_in21k":                               half    ( 21843, 0.95),
    "flexivit_base.300ep_in21k":                                half    ( 21843, 0.95),
    "flexivit_base.patch16_in21k":                              half    ( 21843, 0.95),
    "flexivit_base.patch30_in21k":                              half    ( 21843, 0.95),
    "flexivit_large.1200ep_in1k":                               half    (  1000, 0.95),
    "flexivit_large.600ep_in1k":                                half    (  1000, 0.95),
    "flexivit_large.300ep_in1k":                                half    (  1000, 0.95),
    # DINOv2, TIPSv2
    "vit_small_patch14_dinov2.lvd142m":                         imagenet(     0, 1.0),
    "vit_base_patch14_dinov2.lvd142m":                          imagenet(     0, 1.0),
    "vit_large_patch14_dinov2.lvd142m":                         imagenet(     0, 1.0),
    "vit_giant_patch14_dinov2.lvd142m":                         imagenet(     0, 1.0),
    "vit_small_patch14_reg4_dinov2.lvd142m":                    imagenet(     0, 1.0),
    "vit_base_patch14_reg4_dinov2.lvd142m":                     imagenet(     0, 1.0),
    "vit_large_patch14_reg4_dinov2.lvd142m":                    imagenet(     0, 1.0),
    "vit_giant_patch14_reg4_dinov2.lvd142m":                    imagenet(     0, 1.0),
    "vit_base_patch14_reg1_tipsv2.webli":                       raw     (     0, 1.0),
    "vit_large_patch14_reg1_tipsv2.webli":                      raw     (     0, 1.0),
    "vit_so400m_patch14_reg1_tipsv2.webli":                     raw     (     0, 1.0),
    "vit_giant_patch14_reg1_tipsv2.webli":                      raw     (     0, 1.0),
    # SigLIP, and the eyes of PaliGemma (arXiv:2407.07726, 2412.03555)
    "vit_base_patch32_siglip_256.v2_webli":                     half    (     0, 0.9),
    "vit_base_patch16_siglip_224.v2_webli":                     half    (     0, 0.9),
    "vit_base_patch16_siglip_224.webli":                        half    (     0, 0.9),
    "vit_base_patch16_siglip_256.v2_webli":                     half    (     0, 0.9),
    "vit_base_patch16_siglip_256.webli":                        half    (     0, 0.9),
    "vit_base_patch16_siglip_256.webli_i18n":                   half    (     0, 0.9),
    "vit_base_patch16_siglip_384.v2_webli":                     half    (     0, 0.9),
    "vit_base_patch16_siglip_384.webli":                        half    (     0, 0.9),
    "vit_base_patch16_siglip_512.v2_webli":                     half    (     0, 0.9),
    "vit_base_patch16_siglip_512.webli":                        half    (     0, 0.9),
    "vit_large_patch16_siglip_256.v2_webli":                    half    (     0, 0.9),
    "vit_large_patch16_siglip_256.webli":                       half    (     0, 0.9),
    "vit_large_patch16_siglip_384.v2_webli":                    half    (     0, 0.9),
    "vit_large_patch16_siglip_384.webli":                       half    (     0, 0.9),
    "vit_large_patch16_siglip_512.v2_webli":                    half    (     0, 0.9),
    "vit_so400m_patch14_siglip_224.v2_webli":                   half    (     0, 0.9),
    "vit_so400m_patch14_siglip_224.webli":                      half    (     0, 0.9),
    "vit_so400m_patch14_siglip_378.v2_webli":                   half    (     0, 0.9),
    "vit_so400m_patch14_siglip_378.webli":                      half    (     0, 0.9),
    "vit_so400m_patch14_siglip_378.webli_ft_in1k":              half    (  1000, 1.0,  fit="squash"),
    "vit_so400m_patch14_siglip_384.webli":                      half    (     0, 0.9),
    "vit_so400m_patch16_siglip_256.v2_webli":                   half    (     0, 0.9),
    "vit_so400m_patch16_siglip_256.webli_i18n":                 half    (     0, 0.9),
    "vit_so400m_patch16_siglip_384.v2_webli":                   half    (     0, 0.9),
    "vit_so400m_patch16_siglip_512.v2_webli":                   half    (     0, 0.9),
    "vit_giantopt_patch16_siglip_256.v2_webli":                 half    (     0, 0.9),
    "vit_giantopt_patch16_siglip_384.v2_webli":                 half    (     0, 0.9),
    "vit_base_patch32_siglip_gap_256.v2_webli":                 half    (     0, 0.9),
    "vit_base_patch16_siglip_gap_224.v2_webli":                 half    (     0, 0.9),
    "vit_base_patch16_siglip_gap_224.webli":                    half    (     0, 0.9),
    "vit_base_patch16_siglip_gap_256.v2_webli":                 half    (     0, 0.9),
    "vit_base_patch16_siglip_gap_256.webli":                    half    (     0, 0.9),
    "vit_base_patch16_siglip_gap_256.webli_i18n":               half    (     0, 0.9),
    "vit_base_patch16_siglip_gap_384.v2_webli":                 half    (     0, 0.9),
    "vit_base_patch16_siglip_gap_384.webli":                    half    (     0, 0.9),
    "vit_base_patch16_siglip_gap_512.v2_webli":                 half    (     0, 0.9),
    "vit_base_patch16_siglip_gap_512.webli":                    half    (     0, 0.9),
    "vit_large_patch16_siglip_gap_256.v2_webli":                half    (     0, 0.9),
    "vit_large_patch16_siglip_gap_256.webli":                   half    (     0, 0.9),
    "vit_large_patch16_siglip_gap_384.v2_webli":                half    (     0, 0.9),
    "vit_large_patch16_siglip_gap_384.webli":                   half    (     0, 0.9),
    "vit_large_patch16_siglip_gap_512.v2_webli":                half    (     0, 0.9),
    "vit_so400m_patch14_siglip_gap_224.v2_webli":               half    (     0, 0.9),
    "vit_so400m_patch14_siglip_gap_224.webli":                  half    (     0, 0.9),
    "vit_so400m_patch14_siglip_gap_224.pali_mix":               half    (     0, 0.9),
    "vit_so400m_patch14_siglip_gap_224.pali_pt":                half    (     0, 0.9),
    "vit_so400m_patch14_siglip_gap_224.pali2_3b_pt":            half    (     0, 0.9),
    "vit_so400m_patch14_siglip_gap_224.pali2_10b_pt":           half    (     0, 0.9),
    "vit_so400m_patch14_siglip_gap_378.v2_webli":               half    (     0, 0.9),
    "vit_so400m_patch14_siglip_gap_378.webli":                  half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_378.webli_ft_in1k":          half    (  1000, 1.0,  fit="squash"),
    "vit_so400m_patch14_siglip_gap_384.webli":                  half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_448.pali_mix":               half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_448.pali_pt":                half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_448.pali_refcoco_seg":       half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_448.pali_ocrvqa":            half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_448.pali2_3b_pt":            half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_448.pali2_10b_pt":           half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_448.pali2_3b_docci":         half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_448.pali2_10b_docci":        half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_896.pali_pt":                half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_896.pali_refcoco_seg":       half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_896.pali_ocrvqa":            half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_896.pali2_3b_pt":            half    (     0, 1.0),
    "vit_so400m_patch14_siglip_gap_896.pali2_10b_pt":           half    (     0, 1.0),
    "vit_so400m_patch16_siglip_gap_256.v2_webli":               half    (     0, 0.9),
    "vit_so400m_patch16_siglip_gap_256.webli_i18n":             half    (     0, 0.9),
    "vit_so400m_patch16_siglip_gap_384.v2_webli":               half    (     0, 0.9),
    "vit_so400m_patch16_siglip_gap_512.v2_webli":               half    (     0, 0.9),
    "vit_giantopt_patch16_siglip_gap_256.v2_webli":             half    (     0, 0.9),
    "vit_giantopt_patch16_siglip_gap_384.v2_webli":             half    (     0, 0.9),
    # registers
    "vit_wee_patch16_reg1_gap_256.sbb_in1k":                    half    (  1000, 0.95),
    "vit_little_patch16_reg1_gap_256.sbb_in12k_ft_in1k":        half    (  1000, 0.95),
    "vit_little_patch16_reg1_gap_256.sbb_in12k":                half    ( 11821, 0.95),
    "vit_little_patch16_reg4_gap_256.sbb_in1k":                 half    (  1000, 0.95),
    "vit_medium_patch16_reg1_gap_256.sbb_in1k":                 half    (  1000, 0.95),
    "vit_medium_patch16_reg4_gap_256.sbb_in12k_ft_in1k":        half    (  1000, 0.95),
    "vit_medium_patch16_reg4_gap_256.sbb_in1k":                 half    (  1000, 0.95),
    "vit_medium_patch16_reg4_gap_256.sbb_in12k":                half    ( 11821, 0.95),
    "vit_mediumd_patch16_reg4_gap_256.sbb2_e200_in12k_ft_in1k": half    (  1000, 0.95),
    "vit_mediumd_patch16_reg4_gap_256.sbb_in12k_ft_in1k":       half    (  1000, 0.95),
    "vit_mediumd_patch16_reg4_gap_256.sbb2_e200_in12k":         half    ( 11821, 0.95),
    "vit_mediumd_patch16_reg4_gap_256.sbb_in12k":               half    ( 11821, 0.95),
    "vit_mediumd_patch16_reg4_gap_384.sbb2_e200_in12k_ft_in1k": half    (  1000, 1.0),
    "vit_betwixt_patch16_reg1_gap_256.sbb_in1k":                half    (  1000, 0.95),
    "vit_betwixt_patch16_reg4_gap_256.sbb2_e200_in12k_ft_in1k": half    (  1000, 0.95),
    "vit_betwixt_patch16_reg4_gap_256.sbb_in12k_ft_in1k":       half    (  1000, 0.95),
    "vit_betwixt_patch16_reg4_gap_256.sbb_in1k":                half    (  1000, 0.95),
    "vit_betwixt_patch16_reg4_gap_256.sbb2_e200_in12k":         half    ( 11821, 0.95),
    "vit_betwixt_patch16_reg4_gap_256.sbb_in12k":               half    ( 11821, 0.95),
    "vit_betwixt_patch16_reg4_gap_384.sbb2_e200_in12k_ft_in1k": half    (  1000, 1.0),
    "vit_so150m_patch16_reg4_gap_256.sbb_e250_in12k_ft_in1k":   half    (  1000, 0.95),
    "vit_so150m_patch16_reg4_gap_256.sbb_e250_in12k":           half    ( 11821, 0.95),
    "vit_so150m_patch16_reg4_gap_384.sbb_e250_in12k_ft_in1k":   half    (  1000, 1.0),
    "vit_so150m2_patch16_reg1_gap_256.sbb_e200_in12k_ft_in1k":  half    (  1000, 1.0),
    "vit_so150m2_patch16_reg1_gap_256.sbb_e200_in12k":          half    ( 11821, 1.0),
    "vit_so150m2_patch16_reg1_gap_384.sbb_e200_in12k_ft_in1k":  half    (  1000, 1.0),
    "vit_so150m2_patch16_reg1_gap_448.sbb_e200_in12k_ft_in1k":  half    (  1000, 1.0,  fit="squash"),
    # InternViT
    "vit_intern300m_patch14_448.ogvl_dist":                     imagenet(     0, 1.0,  licence="mit"),
    "vit_intern300m_patch14_448.ogvl_2pt5":                     imagenet(     0, 1.0),
    # small
    "vit_pico_patch4_32.digits":                                pico    (    10, 1.0),
    "test_vit.r160_in1k":                                       half    (  1000, 0.95),
    "test_vit2.r160_in1k":                                      half    (  1000, 0.95),
    "test_vit3.r160_in1k":                                      half    (  1000, 0.95),
    # DeiT, DeiT III
    "deit_tiny_patch16_224.fb_in1k":                            imagenet(  1000, 0.9),
    "deit_small_patch16_224.fb_in1k":                           imagenet(  1000, 0.9),
    "deit_base_patch16_224.fb_in1k":                            imagenet(  1000, 0.9),
    "deit_base_patch16_384.fb_in1k":                            imagenet(  1000, 1.0),
    "deit3_small_patch16_224.fb_in1k":                          imagenet(  1000, 0.9),
    "deit3_small_patch16_224.fb_in22k_ft_in1k":                 imagenet(  1000, 1.0),
    "deit3_small_patch16_384.fb_in1k":                          imagenet(  1000, 1.0),
    "deit3_small_patch16_384.fb_in22k_ft_in1k":                 imagenet(  1000, 1.0),
    "deit3_medium_patch16_224.fb_in1k":                         imagenet(  1000, 0.9),
    "deit3_medium_patch16_224.fb_in22k_ft_in1k":                imagenet(  1000, 1.0),
    "deit3_base_patch16_224.fb_in1k":                           imagenet(  1000, 0.9),
    "deit3_base_patch16_224.fb_in22k_ft_in1k":                  imagenet(  1000, 1.0),
    "deit3_base_patch16_384.fb_in1k":                           imagenet(  1000, 1.0),
    "deit3_base_patch16_384.fb_in22k_ft_in1k":                  imagenet(  1000, 1.0),
    "deit3_large_patch16_224.fb_in1k":                          imagenet(  1000, 0.9),
    "deit3_large_patch16_224.fb_in22k_ft_in1k":                 imagenet(  1000, 1.0),
    "deit3_large_patch16_384.fb_in1k":                          imagenet(  1000, 1.0),
    "deit3_large_patch16_384.fb_in22k_ft_in1k":                 imagenet(  1000, 1.0),
    "deit3_huge_patch14_224.fb_in1k":                           imagenet(  1000, 0.9),
    "deit3_huge_patch14_224.fb_in22k_ft_in1k":                  imagenet(  1000, 1.0),
    # Hugging Face's (transformers), by the names of its repositories
    "google/vit-base-patch16-224":                             hf_vit   ( 1000,       1.0, "vit_base_patch16_224"),
    "google/vit-base-patch16-384":                             hf_vit   ( 1000,       1.0, "vit_base_patch16_384"),
    "google/vit-base-patch32-384":                             hf_vit   ( 1000,       1.0, "vit_base_patch32_384"),
    "google/vit-large-patch16-224":                            hf_vit   ( 1000,       1.0, "vit_large_patch16_224"),
    "google/vit-large-patch16-384":                            hf_vit   ( 1000,       1.0, "vit_large_patch16_384"),
    "google/vit-large-patch32-384":                            hf_vit   ( 1000,       1.0, "vit_large_patch32_384"),
    "google/vit-base-patch16-224-in21k":                       hf_768   (    0,       1.0, "vit_base_patch16_224"),
    "google/vit-base-patch32-224-in21k":                       hf_768   (    0,       1.0, "vit_base_patch32_224"),
    "google/vit-large-patch16-224-in21k":                      hf_1024  (    0,       1.0, "vit_large_patch16_224"),
    "google/vit-large-patch32-224-in21k":                      hf_1024  (    0,       1.0, "vit_large_patch32_224"),
    "google/vit-huge-patch14-224-in21k":                       hf_1280  (    0,       1.0, "vit_huge_patch14_224"),
    "facebook/dino-vits16":                                    hf_dino  (    0,       1.0, "vit_small_patch16_224"),
    "facebook/dino-vits8":                                     hf_dino  (    0,       1.0, "vit_small_patch8_224"),
    "facebook/dino-vitb16":                                    hf_dino  (    0,       1.0, "vit_base_patch16_224"),
    "facebook/dino-vitb8":                                     hf_dino  (    0,       1.0, "vit_base_patch8_224"),
    "facebook/deit-tiny-patch16-224":                          hf_deit  ( 1000, 224 / 256, "deit_tiny_patch16_224"),
    "facebook/deit-small-patch16-224":                         hf_deit  ( 1000, 224 / 256, "deit_small_patch16_224"),
    "facebook/deit-base-patch16-224":                          hf_deit  ( 1000, 224 / 256, "deit_base_patch16_224"),
    "facebook/deit-base-patch16-384":                          hf_deit  ( 1000, 384 / 438, "deit_base_patch16_384"),
    "facebook/deit-tiny-distilled-patch16-224":                hf_taught( 1000, 224 / 256, "deit_tiny_patch16_224"),
    "facebook/deit-small-distilled-patch16-224":               hf_taught( 1000, 224 / 256, "deit_small_patch16_224"),
    "facebook/deit-base-distilled-patch16-224":                hf_taught( 1000, 224 / 256, "deit_base_patch16_224"),
    "facebook/deit-base-distilled-patch16-384":                hf_taught( 1000, 384 / 438, "deit_base_patch16_384"),
    "facebook/dinov2-small":                                   hf_dino2 (    0, 224 / 256, "vit_small_patch14_dinov2"),
    "facebook/dinov2-base":                                    hf_dino2 (    0, 224 / 256, "vit_base_patch14_dinov2"),
    "facebook/dinov2-large":                                   hf_dino2 (    0, 224 / 256, "vit_large_patch14_dinov2"),
    "facebook/dinov2-giant":                                   hf_dino2 (    0, 224 / 256, "vit_giant_patch14_dinov2"),
    "facebook/dinov2-small-imagenet1k-1-layer":                hf_2lin  ( 1000, 224 / 256, "vit_small_patch14_dinov2"),
    "facebook/dinov2-base-imagenet1k-1-layer":                 hf_2lin  ( 1000, 224 / 256, "vit_base_patch14_dinov2"),
    "facebook/dinov2-large-imagenet1k-1-layer":                hf_2lin  ( 1000, 224 / 256, "vit_large_patch14_dinov2"),
    "facebook/dinov2-giant-imagenet1k-1-layer":                hf_2lin  ( 1000, 224 / 256, "vit_giant_patch14_dinov2"),
    "facebook/dinov2-with-registers-small":                    hf_reg4  (    0, 224 / 256, "vit_small_patch14_reg4_dinov2"),
    "facebook/dinov2-with-registers-base":                     hf_reg4  (    0, 224 / 256, "vit_base_patch14_reg4_dinov2"),
    "facebook/dinov2-with-registers-large":                    hf_reg4  (    0, 224 / 256, "vit_large_patch14_reg4_dinov2"),
    "facebook/dinov2-with-registers-giant":                    hf_reg4  (    0, 224 / 256, "vit_giant_patch14_reg4_dinov2"),
    "facebook/dinov2-with-registers-small-imagenet1k-1-layer": hf_4lin  ( 1000, 224 / 256, "vit_small_patch14_reg4_dinov2"),
    "facebook/dinov2-with-registers-base-imagenet1k-1-layer":  hf_4lin  ( 1000, 224 / 256, "vit_base_patch14_reg4_dinov2"),
    "facebook/dinov2-with-registers-large-imagenet1k-1-layer": hf_4lin  ( 1000, 224 / 256, "vit_large_patch14_reg4_dinov2"),
    "facebook/dinov2-with-registers-giant-imagenet1k-1-layer": hf_4lin  ( 1000, 224 / 256, "vit_giant_patch14_reg4_dinov2"),
}

# No two sets have one size, so timm, too, tells them apart by it (timm/data/imagenet_info.py).
IMAGENET = {
     1000: "imagenet-1k",
    11221: "imagenet-21k-miil",
    11821: "imagenet-12k",
    21841: "imagenet-22k",
    21843: "imagenet-21k-goog",
}
# fmt: on


@cache
def labels(name: str) -> tuple[str, ...]:
    """The class names of a label set in published order; () for ""."""
    if not name:
        return ()
    if name == "digits":
        return tuple("0123456789")
    text = (Path(__file__).parent / "labels" / "imagenet.tsv").read_text(encoding="utf-8")
    (_, sets, _), *rows = (line.split("\t") for line in text.splitlines())
    if name not in (known := sets.split()):
        raise unknown("label set", name, [*known, "digits"])
    column = known.index(name)
    return tuple(names for _, members, names in rows if members[column] == "1")
