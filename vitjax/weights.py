"""Every published checkpoint as a row: its classes, how its pictures are made, its licence and its file. Stdlib only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from .config import TOWERS, Config, Preprocess, Source, Spec, Tokenize, ViTConfig, image_size, unknown

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
    origin: str | None = None  # None: the repository of the same name, or timm's; {name} is the checkpoint's
    dialect: str = "timm"
    reference: str = "timm 1.0.31"
    key: str | None = None  # which of several sets of weights in the file
    sha256: str = ""  # of the file, where it is published
    tokenize: Tokenize | None = None  # of a CLIP; `classes` is not used of it

    def spec(self, name: str, config: Config) -> Spec:
        """Everything known of the checkpoint `name` of the architecture `config`."""
        # A quickgelu architecture runs the file of its plain sister, as that was trained.
        repository = name if self.architecture else f"timm/{name.replace('_quickgelu', '')}"
        origin = f"hf:{repository}" if self.origin is None else self.origin.replace("{name}", name)
        if isinstance(config, ViTConfig):
            config = replace(config, classes=self.classes, **self.runs)
        else:  # both towers are run so
            config = replace(config, **{name: run(getattr(config, name), self.runs) for name in TOWERS})
        return Spec(
            name,
            config,
            Preprocess(self.size or image_size(config), self.crop, self.fit, self.resample, self.mean, self.std),
            labels(IMAGENET.get(self.classes, "") if self.labels is None else self.labels),
            Source(self.dialect, origin, self.sha256, self.licence, self.reference),
            self.tokenize,
        )


def run(tower: Any, how: Mapping[str, Any]) -> Any:
    """A CLIP's tower as it is run; how pictures' positions are resampled says nothing of the one for texts."""
    return replace(tower, **{key: value for key, value in how.items() if hasattr(tower, key)})


# fmt: off
half     = partial(Weights, mean=(0.5, 0.5, 0.5),                     std=(0.5, 0.5, 0.5))
imagenet = partial(Weights, mean=(0.485, 0.456, 0.406),               std=(0.229, 0.224, 0.225))
clip     = partial(Weights, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
raw      = partial(Weights, mean=(0.0, 0.0, 0.0),                     std=(1.0, 1.0, 1.0))
eva      = partial(clip, licence="mit")
eva22k   = partial(imagenet, licence="mit")
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

# birder squashes pictures. What its files say of their size, classes and colours wins over these rows.
BIRDER    = "https://huggingface.co/birder-project/%s/resolve/main/{name}.pt"  # of a repository that has several
BIO       = BIRDER % "vit_reg4_so150m_p14_ls_dino-v2-bio"
birder    = dict(fit="squash", labels="", licence="", dialect="birder", reference="birder 0.8.4",
                 origin="hf:birder-project/{name}")
bd_clip   = partial(clip,     **birder)
bd_siglip = partial(half,     **birder)
bd_dino2  = partial(imagenet, **birder, runs={"image": 518}, size=518)
bd        = partial(Weights,  **birder, mean=(0.5191, 0.5306, 0.4877), std=(0.2316, 0.2304, 0.2588))

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
    # EVA (arXiv:2211.07636), EVA-02 (arXiv:2303.11331), EVA-CLIP's image towers (arXiv:2303.15389)
    "eva_giant_patch14_224.clip_ft_in1k":                       eva     (  1000, 0.9),
    "eva_giant_patch14_336.clip_ft_in1k":                       eva     (  1000, 1.0,  fit="squash"),
    "eva_giant_patch14_336.m30m_ft_in22k_in1k":                 eva22k  (  1000, 1.0,  fit="squash"),
    "eva_giant_patch14_560.m30m_ft_in22k_in1k":                 eva22k  (  1000, 1.0,  fit="squash"),
    "eva_giant_patch14_clip_224.laion400m":                     eva     (  1024, 0.9),
    "eva_giant_patch14_clip_224.merged2b":                      eva     (  1024, 0.9),
    "eva02_tiny_patch14_224.mim_in22k":                         eva     (     0, 0.9),
    "eva02_tiny_patch14_336.mim_in22k_ft_in1k":                 eva     (  1000, 1.0),
    "eva02_small_patch14_224.mim_in22k":                        eva     (     0, 0.9),
    "eva02_small_patch14_336.mim_in22k_ft_in1k":                eva     (  1000, 1.0),
    "eva02_base_patch14_224.mim_in22k":                         eva     (     0, 0.9),
    "eva02_base_patch14_448.mim_in22k_ft_in22k_in1k":           eva     (  1000, 1.0,  fit="squash"),
    "eva02_base_patch14_448.mim_in22k_ft_in1k":                 eva     (  1000, 1.0),
    "eva02_base_patch14_448.mim_in22k_ft_in22k":                eva     ( 21841, 1.0,  fit="squash"),
    "eva02_large_patch14_224.mim_in22k":                        eva     (     0, 0.9),
    "eva02_large_patch14_224.mim_m38m":                         eva     (     0, 0.9),
    "eva02_large_patch14_448.mim_in22k_ft_in22k_in1k":          eva     (  1000, 1.0,  fit="squash"),
    "eva02_large_patch14_448.mim_m38m_ft_in22k_in1k":           eva     (  1000, 1.0,  fit="squash"),
    "eva02_large_patch14_448.mim_in22k_ft_in1k":                eva     (  1000, 1.0),
    "eva02_large_patch14_448.mim_m38m_ft_in1k":                 eva     (  1000, 1.0),
    "eva02_large_patch14_448.mim_in22k_ft_in22k":               eva     ( 21841, 1.0,  fit="squash"),
    "eva02_large_patch14_448.mim_m38m_ft_in22k":                eva     ( 21841, 1.0,  fit="squash"),
    "eva02_base_patch16_clip_224.merged2b":                     eva     (   512, 0.9),
    "eva02_large_patch14_clip_224.merged2b":                    eva     (   768, 0.9),
    "eva02_large_patch14_clip_336.merged2b":                    eva     (   768, 1.0),
    "eva02_enormous_patch14_clip_224.laion2b":                  eva     (  1024, 0.9),
    "eva02_enormous_patch14_clip_224.laion2b_plus":             eva     (  1024, 0.9),
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
    # birder's, by its names: encoders, CLIP's and SigLIP's towers, classifiers of birds
    "vit_l14_pn_quick_gelu_openai-clip":                bd_clip  (  768, 1.0, "vit_l14_pn_quick_gelu",
        sha256="2c7462390956d8942de0df21d9d1a43cf53fdbe3a3570a1add64d859313a0bee"),
    "vit_b16_pn_bioclip-v1":                            bd_clip  (  512, 1.0, "vit_b16_pn",
        sha256="9b2e5598f233657932eeb77e027cd4c4d683bf75515768fe6971cab6ec10bf15"),
    "vit_b16_pn_biotrove-clip-o":                       bd_clip  (  512, 1.0, "vit_b16_pn",
        sha256="5477a42494efa4122bb8e903ebe7e3fc6278df39074c7d2828063b97652f8bb6"),
    "vit_l14_pn_bioclip-v2":                            bd_clip  (  768, 1.0, "vit_l14_pn",
        sha256="301a325579dafdfa2ea13b0cbaf8129211ecd1429c29afa20d1c2eaaa91d8b0d"),
    "vit_h14_pn_bioclip-v25":                           bd_clip  ( 1024, 1.0, "vit_h14_pn",
        sha256="f0b6b49e06078100395945a866ee4bd2cb38011a263d6a2b8d27bc1be2d0502f"),
    "vit_so400m_p14_ap_c1_siglip-v2-webli":             bd_siglip(    0, 1.0, "vit_so400m_p14_ap_c1",
        sha256="f8ac3bdf028d17a2ee2673f58b51cffa5c696edef44c92092299d970607c7be6"),
    "vit_reg4_s14_nps_ls_dino-v2-lvd142m":              bd_dino2 (    0, 1.0, "vit_reg4_s14_nps_ls",
        sha256="c08263b219669d3933ee83f6b3be16ddecde046472b7869862312c6bdf89190f"),
    "vit_reg4_b14_nps_ls_dino-v2-lvd142m":              bd_dino2 (    0, 1.0, "vit_reg4_b14_nps_ls",
        sha256="c091d95be4c0ab6102ed7d4a183b3ab8728e2fb73969c5811381046d34b53944"),
    "vit_reg4_l14_nps_ls_dino-v2-lvd142m":              bd_dino2 (    0, 1.0, "vit_reg4_l14_nps_ls",
        sha256="441721029ca0ef85582bc8822ec91d780ee442eb3d06b04fb5e4662c9317b52d"),
    "vit_b16_ls_franca-bioscan5m":                      bd       (    0, 1.0, "vit_b16_ls",
        sha256="2124b590b20fb769e693b1ff31a9f5e77cb449924a3b27fc5a74013af5b2990c"),
    "vit_l16_mim_200":                                  bd       (    0, 1.0, "vit_l16", origin=BIRDER % "vit_l16_mim",
        sha256="7fc5b342347d8349aaf5f069a47efd441b646f8542821ed2e30b47a7da72917a"),
    "vit_l16_mim_400":                                  bd       (    0, 1.0, "vit_l16", origin=BIRDER % "vit_l16_mim",
        sha256="9b5c4e2538ea40edd60d8831d3807b543290dc2db44d537e60e44a341b47e54e"),
    "vit_reg4_b16_mim_200":                             bd       (    0, 1.0, "vit_reg4_b16", origin=BIRDER % "vit_reg4_b16_mim",
        sha256="c7ec433c01e1dc0d6100cafc29fa88155a0d65f4b42afa9cc252b77485a566a7"),
    "vit_reg4_b16_mim_300":                             bd       (    0, 1.0, "vit_reg4_b16", origin=BIRDER % "vit_reg4_b16_mim",
        sha256="b0e5e2b24ea7a8d2be246df43c9d8092354f6ee81e88c6cdd7c52d8e38ed44a4"),
    "vit_reg4_b16_mim-intermediate-il-common":          bd       (  371, 1.0, "vit_reg4_b16", runs={"image": 256},
        size=256, sha256="3a15b95285cd4435b601ef058839f422cdce8f68cca50de9353e1ac2bcb65f9a"),
    "vit_reg4_b16_mim-intermediate-arabian-peninsula":  bd       (  735, 1.0, "vit_reg4_b16", runs={"image": 384},
        size=384, sha256="78dbf578ebe7d5761705231e16fef280b14905a94f18879167c96df3e59d13a5"),
    "vit_reg4_so150m_p14_avg_mim-bio":                  bd       (    0, 1.0, "vit_reg4_so150m_p14_avg",
        sha256="397979a026a120a035b20f863f10de409b9fca12a244a6ea9ba745c7ca48420d"),
    "vit_reg1_s14_ls_dino-v2-dist-bio":                 bd       (    0, 1.0, "vit_reg1_s14_ls", runs={"image": 252},
        size=252, sha256="f50046e70639e190d0adeef422bbdc66097641f4993a4ce1b15f66c7ede93cb7"),
    "vit_reg4_so150m_p14_ls_dino-v2-bio-252px":         bd       (    0, 1.0, "vit_reg4_so150m_p14_ls", runs={"image": 252},
        size=252, origin=BIO, sha256="a47cb23593eb9f750ecdd51bbaf29c8bc23923980bf624024db8b8a5ab4be145"),
    "vit_reg4_so150m_p14_ls_dino-v2-bio-224px":         bd       (    0, 1.0, "vit_reg4_so150m_p14_ls",
        origin=BIO, sha256="cabfd49ca3d934a8a7df006060988aff138d079d9952a2af441b3eba7c662c90"),
    "vit_reg4_so150m_p14_ls_dino-v2-bio-336px":         bd       (    0, 1.0, "vit_reg4_so150m_p14_ls", runs={"image": 336},
        size=336, origin=BIO, sha256="f7873db83482a4afd7c0863cc499cdb14a4cd4190e4c104a2aafb40df87df3fc"),
}

# ImageNet-1k, top-1 and top-5 in percent, as timm's model cards of EVA report them: nothing that was measured here.
REPORTED: dict[str, tuple[float, float]] = {
    "eva02_large_patch14_448.mim_m38m_ft_in22k_in1k":  (90.054, 99.042),
    "eva02_large_patch14_448.mim_in22k_ft_in22k_in1k": (89.946, 99.01),
    "eva_giant_patch14_560.m30m_ft_in22k_in1k":        (89.792, 98.992),
    "eva02_large_patch14_448.mim_in22k_ft_in1k":       (89.626, 98.954),
    "eva02_large_patch14_448.mim_m38m_ft_in1k":        (89.57,  98.918),
    "eva_giant_patch14_336.m30m_ft_in22k_in1k":        (89.56,  98.956),
    "eva_giant_patch14_336.clip_ft_in1k":              (89.466, 98.82),
    "eva_large_patch14_336.in22k_ft_in22k_in1k":       (89.214, 98.854),
    "eva_giant_patch14_224.clip_ft_in1k":              (88.882, 98.678),
    "eva02_base_patch14_448.mim_in22k_ft_in22k_in1k":  (88.692, 98.722),
    "eva_large_patch14_336.in22k_ft_in1k":             (88.652, 98.722),
    "eva_large_patch14_196.in22k_ft_in22k_in1k":       (88.592, 98.656),
    "eva02_base_patch14_448.mim_in22k_ft_in1k":        (88.23,  98.564),
    "eva_large_patch14_196.in22k_ft_in1k":             (87.934, 98.504),
    "eva02_small_patch14_336.mim_in22k_ft_in1k":       (85.74,  97.614),
    "eva02_tiny_patch14_336.mim_in22k_ft_in1k":        (80.658, 95.524),
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
