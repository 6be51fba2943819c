"""Every CLIP as a row: OpenAI's and open_clip's with towers of their own, EVA-CLIP and SigLIP. Stdlib only."""

from functools import partial
from typing import Any

from .config import CLIPConfig, TextConfig, ViTConfig
from .vit_variants import TIMM, base, giant, gigantic, huge, large, medium, plus, small

# fmt: off
#            width depth heads   mlp
enormous   =  1792,   56,   16, 15360  # open_clip's ViT-e
t256       =   256,   10,    4,  1024  # text towers, by width
t384       =   384,   12,    6,  1536
t512       =   512,   12,    8,  2048
t640       =   640,   12,   10,  2560
t768       =   768,   12,   12,  3072
t1024      =  1024,   24,   16,  4096
t1152      =  1152,   27,   16,  4304
t1280      =  1280,   32,   20,  5120
t1280_36   =  1280,   36,   20,  5120
# fmt: on

Text = tuple[int, int, int, int]


def clip(image: int, patch: int, width: int, depth: int, heads: int, mlp: int, space: int, text: Text, **how) -> CLIPConfig:
    """OpenAI's network (arXiv:2103.00020); `how` is what of the text tower differs, with `vit` what of the image tower."""
    own: dict[str, Any] = {"patch_bias": False, "norm_pre": True, "eps": 1e-5, "head_bias": False} | how.pop("vit", {})
    context, vocab = how.pop("tokens", (77, 49408))
    return CLIPConfig(
        ViTConfig(image, patch, width, depth, heads, mlp, space, **own),
        TextConfig(context, vocab, *text, space, **how),
    )


def siglip(vit: str, text: Text, vocab: int = 32000, context: int = 64, projected: bool = True, **how) -> CLIPConfig:
    """SigLIP (arXiv:2303.15343, 2502.14786): timm's image tower of that name, a text tower that sees both ways."""
    image = TIMM[vit]
    own = {"causal": False, "pool": "last", "head_bias": projected, "eps": 1e-6} | how
    return CLIPConfig(image, TextConfig(context, vocab, *text, image.width * projected, **own), sigmoid=True)


def eva(vit: str, text: Text) -> CLIPConfig:
    """EVA-CLIP (arXiv:2303.15389): timm's image tower of that name, whose classifier is the projection, and CLIP's text tower."""
    image = TIMM[vit]
    return CLIPConfig(image, TextConfig(77, 49408, *text, image.classes))


# CLIPA (arXiv:2305.07017): the mean of the patches, short texts of BERT's vocabulary.
# MetaCLIP 2 (arXiv:2507.22062): texts of many languages.
clipa = partial(
    clip,
    tokens=(32, 32000),
    pool="last",
    causal=False,
    vit={"norm_pre": False, "pool": "mean", "norm": "after"},
)
# MobileCLIP 2's teacher (arXiv:2508.20691): timm's image tower, whose projection has a bias, texts seen both ways.
mobile = partial(clip, causal=False, vit={"head_bias": True})
xlm = partial(clip, tokens=(77, 901629), pool="eos", eos=2)
mt5 = partial(clip, tokens=(77, 250100), pool="eos", eos=1)
i18n = partial(siglip, vocab=250000)
siglip2 = partial(siglip, vocab=256000, act="gelu_tanh")

# As open_clip 3.3 builds them (open_clip/model_configs). Published weights differ in their activation: clip_weights.py says it.
# fmt: off
CLIPS: dict[str, CLIPConfig] = {
    #                                                 image patch size   space  text
    "clip_vit_small_patch32_224":              clip   (224, 32, *small,      384, t384),
    "clip_vit_small_patch32_alt_224":          clip   (224, 32, *small,      256, t256),
    "clip_vit_small_patch16_224":              clip   (224, 16, *small,      384, t384),
    "clip_vit_small_patch16_alt_224":          clip   (224, 16, *small,      256, t256),
    "clip_vit_medium_patch32_224":             clip   (224, 32, *medium,     512, t512),
    "clip_vit_medium_patch32_alt_224":         clip   (224, 32, *medium,     384, t384),
    "clip_vit_medium_patch16_224":             clip   (224, 16, *medium,     512, t512),
    "clip_vit_medium_patch16_alt_224":         clip   (224, 16, *medium,     384, t384, vit={"layer_scale": 1e-4}),
    "clip_vit_base_patch32_224":               clip   (224, 32, *base,       512, t512),
    "clip_vit_base_patch32_256":               clip   (256, 32, *base,       512, t512),
    "clip_vit_base_patch16_224":               clip   (224, 16, *base,       512, t512),
    "clip_vit_base_patch32_plus_256":          clip   (256, 32, *plus,       640, t640),
    "clip_vit_base_patch16_plus_224":          clip   (224, 16, *plus,       640, t640),
    "clip_vit_base_patch16_plus_240":          clip   (240, 16, *plus,       640, t640),
    "clip_vit_large_patch16_224":              clip   (224, 16, *large,      768, t768),
    "clip_vit_large_patch16_320":              clip   (320, 16, *large,      768, t768),
    "clip_vit_large_patch14_224":              clip   (224, 14, *large,      768, t768),
    "clip_vit_large_patch14_mobileclip2_224":  mobile (224, 14, *large,      768, t768),
    "clip_vit_large_patch14_280":              clip   (280, 14, *large,      768, t768),
    "clip_vit_large_patch14_336":              clip   (336, 14, *large,      768, t768),
    "clip_vit_huge_patch16_224":               clip   (224, 16, *huge,      1024, t1024),
    "clip_vit_huge_patch14_224":               clip   (224, 14, *huge,      1024, t1024),
    "clip_vit_huge_patch14_378":               clip   (378, 14, *huge,      1024, t1024),
    "clip_vit_giant_patch14_224":              clip   (224, 14, *giant,     1024, t1024),
    "clip_vit_gigantic_patch14_224":           clip   (224, 14, *gigantic,  1280, t1280),
    "clip_vit_e_patch14_224":                  clip   (224, 14, *enormous,        1280, t1280_36),
    "clip_vit_large_patch14_worldwide_224":    mt5    (224, 14, *large,      768, t768),
    "clip_vit_huge_patch14_worldwide_224":     xlm    (224, 14, *huge,      1024, t1024),
    "clip_vit_huge_patch14_worldwide_378":     xlm    (378, 14, *huge,      1024, t1024),
    "clip_vit_gigantic_patch14_worldwide_224": xlm    (224, 14, *gigantic,  1280, t1280),
    "clip_vit_gigantic_patch14_worldwide_378": xlm    (378, 14, *gigantic,  1280, t1280),
    "clip_vit_large_patch14_clipa_224":        clipa  (224, 14, *large,      768, t768),
    "clip_vit_large_patch14_clipa_336":        clipa  (336, 14, *large,      768, t768),
    "clip_vit_huge_patch14_clipa_224":         clipa  (224, 14, *huge,      1024, t1024),
    "clip_vit_huge_patch14_clipa_336":         clipa  (336, 14, *huge,      1024, t1024),
    "clip_vit_gigantic_patch14_clipa_224":     clipa  (224, 14, *gigantic,  1280, t1280),
    "clip_vit_gigantic_patch14_clipa_336":     clipa  (336, 14, *gigantic,  1280, t1280),
    # open_clip makes giant's of eva_giant_patch14_224, pooled by its class token: the same network
    "clip_eva_giant_patch14_224":              eva    ("eva_giant_patch14_clip_224", t768),
    "clip_eva_giant_patch14_plus_224":         eva    ("eva_giant_patch14_clip_224", t1024),
    "clip_eva02_base_patch16_224":             eva    ("eva02_base_patch16_clip_224", t512),
    "clip_eva02_large_patch14_224":            eva    ("eva02_large_patch14_clip_224", t768),
    "clip_eva02_large_patch14_336":            eva    ("eva02_large_patch14_clip_336", t768),
    "clip_eva02_enormous_patch14_224":         eva    ("eva02_enormous_patch14_clip_224", t1024),
    "clip_eva02_enormous_patch14_plus_224":    eva    ("eva02_enormous_patch14_clip_224", t1280),
    "siglip_vit_base_patch16_224":             siglip ("vit_base_patch16_siglip_224", t768),
    "siglip_vit_base_patch16_256":             siglip ("vit_base_patch16_siglip_256", t768),
    "siglip_vit_base_patch16_i18n_256":        i18n   ("vit_base_patch16_siglip_256", t768),
    "siglip_vit_base_patch16_384":             siglip ("vit_base_patch16_siglip_384", t768),
    "siglip_vit_base_patch16_512":             siglip ("vit_base_patch16_siglip_512", t768),
    "siglip_vit_large_patch16_256":            siglip ("vit_large_patch16_siglip_256", t1024),
    "siglip_vit_large_patch16_384":            siglip ("vit_large_patch16_siglip_384", t1024),
    "siglip_vit_so400m_patch16_i18n_256":      i18n   ("vit_so400m_patch16_siglip_256", t1152, projected=False),
    "siglip_vit_so400m_patch14_224":           siglip ("vit_so400m_patch14_siglip_224", t1152, context=16),
    "siglip_vit_so400m_patch14_378":           siglip ("vit_so400m_patch14_siglip_378", t1152),
    "siglip_vit_so400m_patch14_384":           siglip ("vit_so400m_patch14_siglip_384", t1152),
    "siglip2_vit_base_patch32_256":            siglip2("vit_base_patch32_siglip_256", t768),
    "siglip2_vit_base_patch16_224":            siglip2("vit_base_patch16_siglip_224", t768),
    "siglip2_vit_base_patch16_256":            siglip2("vit_base_patch16_siglip_256", t768),
    "siglip2_vit_base_patch16_384":            siglip2("vit_base_patch16_siglip_384", t768),
    "siglip2_vit_base_patch16_512":            siglip2("vit_base_patch16_siglip_512", t768),
    "siglip2_vit_large_patch16_256":           siglip2("vit_large_patch16_siglip_256", t1024),
    "siglip2_vit_large_patch16_384":           siglip2("vit_large_patch16_siglip_384", t1024),
    "siglip2_vit_large_patch16_512":           siglip2("vit_large_patch16_siglip_512", t1024),
    "siglip2_vit_so400m_patch16_256":          siglip2("vit_so400m_patch16_siglip_256", t1152),
    "siglip2_vit_so400m_patch16_384":          siglip2("vit_so400m_patch16_siglip_384", t1152),
    "siglip2_vit_so400m_patch16_512":          siglip2("vit_so400m_patch16_siglip_512", t1152),
    "siglip2_vit_so400m_patch14_224":          siglip2("vit_so400m_patch14_siglip_224", t1152),
    "siglip2_vit_so400m_patch14_378":          siglip2("vit_so400m_patch14_siglip_378", t1152),
    "siglip2_vit_giantopt_patch16_256":        siglip2("vit_giantopt_patch16_siglip_256", t1152),
    "siglip2_vit_giantopt_patch16_384":        siglip2("vit_giantopt_patch16_siglip_384", t1152),
}

# open_clip's names.
OPEN_CLIP = {
    "ViT-S-32":                     "clip_vit_small_patch32_224",
    "ViT-S-32-alt":                 "clip_vit_small_patch32_alt_224",
    "ViT-S-16":                     "clip_vit_small_patch16_224",
    "ViT-S-16-alt":                 "clip_vit_small_patch16_alt_224",
    "ViT-M-32":                     "clip_vit_medium_patch32_224",
    "ViT-M-32-alt":                 "clip_vit_medium_patch32_alt_224",
    "ViT-M-16":                     "clip_vit_medium_patch16_224",
    "ViT-M-16-alt":                 "clip_vit_medium_patch16_alt_224",
    "ViT-B-32":                     "clip_vit_base_patch32_224",
    "ViT-B-32-256":                 "clip_vit_base_patch32_256",
    "ViT-B-16":                     "clip_vit_base_patch16_224",
    "ViT-B-32-plus-256":            "clip_vit_base_patch32_plus_256",
    "ViT-B-16-plus":                "clip_vit_base_patch16_plus_224",
    "ViT-B-16-plus-240":            "clip_vit_base_patch16_plus_240",
    "ViT-L-16":                     "clip_vit_large_patch16_224",
    "ViT-L-16-320":                 "clip_vit_large_patch16_320",
    "ViT-L-14":                     "clip_vit_large_patch14_224",
    "MobileCLIP2-L-14":             "clip_vit_large_patch14_mobileclip2_224",
    "ViT-L-14-280":                 "clip_vit_large_patch14_280",
    "ViT-L-14-336":                 "clip_vit_large_patch14_336",
    "ViT-H-16":                     "clip_vit_huge_patch16_224",
    "ViT-H-14":                     "clip_vit_huge_patch14_224",
    "ViT-H-14-378":                 "clip_vit_huge_patch14_378",
    "ViT-g-14":                     "clip_vit_giant_patch14_224",
    "ViT-bigG-14":                  "clip_vit_gigantic_patch14_224",
    "ViT-e-14":                     "clip_vit_e_patch14_224",
    "ViT-L-14-worldwide":           "clip_vit_large_patch14_worldwide_224",
    "ViT-H-14-worldwide":           "clip_vit_huge_patch14_worldwide_224",
    "ViT-H-14-worldwide-378":       "clip_vit_huge_patch14_worldwide_378",
    "ViT-bigG-14-worldwide":        "clip_vit_gigantic_patch14_worldwide_224",
    "ViT-bigG-14-worldwide-378":    "clip_vit_gigantic_patch14_worldwide_378",
    "ViT-L-14-CLIPA":               "clip_vit_large_patch14_clipa_224",
    "ViT-L-14-CLIPA-336":           "clip_vit_large_patch14_clipa_336",
    "ViT-H-14-CLIPA":               "clip_vit_huge_patch14_clipa_224",
    "ViT-H-14-CLIPA-336":           "clip_vit_huge_patch14_clipa_336",
    "ViT-bigG-14-CLIPA":            "clip_vit_gigantic_patch14_clipa_224",
    "ViT-bigG-14-CLIPA-336":        "clip_vit_gigantic_patch14_clipa_336",
    "EVA01-g-14":                   "clip_eva_giant_patch14_224",
    "EVA01-g-14-plus":              "clip_eva_giant_patch14_plus_224",
    "EVA02-B-16":                   "clip_eva02_base_patch16_224",
    "EVA02-L-14":                   "clip_eva02_large_patch14_224",
    "EVA02-L-14-336":               "clip_eva02_large_patch14_336",
    "EVA02-E-14":                   "clip_eva02_enormous_patch14_224",
    "EVA02-E-14-plus":              "clip_eva02_enormous_patch14_plus_224",
    "ViT-B-16-SigLIP":              "siglip_vit_base_patch16_224",
    "ViT-B-16-SigLIP-256":          "siglip_vit_base_patch16_256",
    "ViT-B-16-SigLIP-i18n-256":     "siglip_vit_base_patch16_i18n_256",
    "ViT-B-16-SigLIP-384":          "siglip_vit_base_patch16_384",
    "ViT-B-16-SigLIP-512":          "siglip_vit_base_patch16_512",
    "ViT-L-16-SigLIP-256":          "siglip_vit_large_patch16_256",
    "ViT-L-16-SigLIP-384":          "siglip_vit_large_patch16_384",
    "ViT-SO400M-16-SigLIP-i18n-256":"siglip_vit_so400m_patch16_i18n_256",
    "ViT-SO400M-14-SigLIP":         "siglip_vit_so400m_patch14_224",
    "ViT-SO400M-14-SigLIP-378":     "siglip_vit_so400m_patch14_378",
    "ViT-SO400M-14-SigLIP-384":     "siglip_vit_so400m_patch14_384",
    "ViT-B-32-SigLIP2-256":         "siglip2_vit_base_patch32_256",
    "ViT-B-16-SigLIP2":             "siglip2_vit_base_patch16_224",
    "ViT-B-16-SigLIP2-256":         "siglip2_vit_base_patch16_256",
    "ViT-B-16-SigLIP2-384":         "siglip2_vit_base_patch16_384",
    "ViT-B-16-SigLIP2-512":         "siglip2_vit_base_patch16_512",
    "ViT-L-16-SigLIP2-256":         "siglip2_vit_large_patch16_256",
    "ViT-L-16-SigLIP2-384":         "siglip2_vit_large_patch16_384",
    "ViT-L-16-SigLIP2-512":         "siglip2_vit_large_patch16_512",
    "ViT-SO400M-16-SigLIP2-256":    "siglip2_vit_so400m_patch16_256",
    "ViT-SO400M-16-SigLIP2-384":    "siglip2_vit_so400m_patch16_384",
    "ViT-SO400M-16-SigLIP2-512":    "siglip2_vit_so400m_patch16_512",
    "ViT-SO400M-14-SigLIP2":        "siglip2_vit_so400m_patch14_224",
    "ViT-SO400M-14-SigLIP2-378":    "siglip2_vit_so400m_patch14_378",
    "ViT-gopt-16-SigLIP2-256":      "siglip2_vit_giantopt_patch16_256",
    "ViT-gopt-16-SigLIP2-384":      "siglip2_vit_giantopt_patch16_384",
}

# What else open_clip and OpenAI have, and why we have not.
REFUSED = {
    "RN*":                "its image tower is a ResNet",
    "coca_*":             "its text tower writes texts, too",
    "convnext_*":         "its image tower is convolutional",
    "*roberta-*":         "its text tower is XLM-RoBERTa or RoBERTa",
    "mt5-*":              "its text tower is mT5",
    "nllb-clip-*":        "its text tower is NLLB",
    "MobileCLIP*":        "its image tower has convolutions",
    "PE-Core-*":          "its rotary positions are not those of EVA",
    "ViTamin-*":          "its image tower has convolutions",
    "vit_relpos_*":       "its positions are relative",
    "swin_*":             "its image tower has attention within windows",
}
# fmt: on
