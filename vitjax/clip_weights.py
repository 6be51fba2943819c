"""Every published CLIP as a row: its activation, its pictures, its texts, its licence and its file. Stdlib only."""

from functools import partial
from typing import Any

from .config import Tokenize
from .weights import Weights, clip, half, imagenet

OPENAI = "https://openaipublic.azureedge.net/clip/models/"
QUICK = {"act": "quick_gelu"}
CLIP_TEXTS = Tokenize()
common: dict[str, Any] = dict(classes=0, crop=1.0, labels="", dialect="open_clip", reference="open_clip 3.3.0")


def published(repository: str, kind: partial = clip, tokenize: Tokenize = CLIP_TEXTS, licence: str = "mit", **how) -> Weights:
    """Weights in a hub repository, in open_clip's spelling; `kind` says the colours."""
    return kind(**common | {"origin": f"hf:{repository}", "tokenize": tokenize, "licence": licence} | how)


def transformers(architecture: str, kind: partial, **how) -> Weights:
    """Weights in the hub repository of their name, in transformers' spelling."""
    own: dict[str, Any] = {"dialect": "huggingface", "reference": "transformers 5.23.0", "architecture": architecture}
    return kind(**common | own | how)


def openai(file: str, sha256: str) -> Weights:
    """OpenAI's own archives (clip/clip.py), whose addresses hold their hashes."""
    how: dict[str, Any] = {"dialect": "openai", "reference": "openai/CLIP d05afc4", "runs": QUICK, "sha256": sha256}
    return clip(**common | how | {"origin": f"{OPENAI}{sha256}/{file}", "tokenize": CLIP_TEXTS, "licence": "mit"})


# fmt: off
plain    = published
quick    = partial(published, runs=QUICK)
half_    = partial(published, kind=half)  # the only one of its kind that saw such colours
metaerf  = partial(published, licence="cc-by-nc-4.0")
meta     = partial(metaerf,   runs=QUICK)
dfnerf   = partial(published, licence="apple-ascl")
dfn      = partial(dfnerf,    runs=QUICK)
squashed = partial(published, licence="apache-2.0", fit="squash")
clipa    = partial(squashed,  kind=imagenet, resample="bilinear", tokenize=Tokenize("whitespace", 101, 0, 0))
siglip   = partial(squashed,  kind=half, tokenize=Tokenize("repaired", None, 1, 1))
siglip2  = partial(squashed,  kind=half, tokenize=Tokenize("repaired", None, 1, 0))
xlm      = partial(metaerf,   tokenize=Tokenize("whitespace", 0, 2, 1))
xlm378   = partial(xlm,       fit="squash")
xlmquick = partial(xlm,       runs=QUICK)

# transformers: positions resampled without antialiasing; what its files say of a network wins over these rows.
HF       = {"interpolation": "cubic-pytorch"}
TANH     = HF | {"act": "gelu_tanh", "eps": 1e-6}
hf       = partial(transformers, licence="apache-2.0")
hf_clip  = partial(transformers, kind=clip, runs=HF | QUICK, tokenize=Tokenize("huggingface", pad=49407), licence="mit")
hf_sig   = partial(hf, kind=half, runs=TANH, fit="squash", tokenize=Tokenize("canonical", None, 1, 1))
hf_sig2  = partial(hf, kind=half, runs=TANH, fit="squash", tokenize=Tokenize("lower", None, 1, 0), resample="bilinear")

# As open_clip 3.3 has them (open_clip/pretrained.py), those of an architecture in its order; the first is the default.
WEIGHTS: dict[str, Weights] = {
    "clip_vit_base_patch32_224.openai":                      openai  ("ViT-B-32.pt",
        sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
    "clip_vit_base_patch32_224.laion400m_e31":               quick   ("timm/vit_base_patch32_clip_224.laion400m_e31"),
    "clip_vit_base_patch32_224.laion400m_e32":               quick   ("timm/vit_base_patch32_clip_224.laion400m_e32"),
    "clip_vit_base_patch32_224.laion2b_e16":                 plain   ("timm/vit_base_patch32_clip_224.laion2b_e16"),
    "clip_vit_base_patch32_224.laion2b_s34b_b79k":           plain   ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    "clip_vit_base_patch32_224.datacomp_xl_s13b_b90k":       plain   ("laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K"),
    "clip_vit_base_patch32_224.datacomp_m_s128m_b4k":        plain   ("laion/CLIP-ViT-B-32-DataComp.M-s128M-b4K"),
    "clip_vit_base_patch32_224.commonpool_m_clip_s128m_b4k": plain   ("laion/CLIP-ViT-B-32-CommonPool.M.clip-s128M-b4K"),
    "clip_vit_base_patch32_224.commonpool_m_laion_s128m_b4k":plain   ("laion/CLIP-ViT-B-32-CommonPool.M.laion-s128M-b4K"),
    "clip_vit_base_patch32_224.commonpool_m_image_s128m_b4k":plain   ("laion/CLIP-ViT-B-32-CommonPool.M.image-s128M-b4K"),
    "clip_vit_base_patch32_224.commonpool_m_text_s128m_b4k": plain   ("laion/CLIP-ViT-B-32-CommonPool.M.text-s128M-b4K"),
    "clip_vit_base_patch32_224.commonpool_m_basic_s128m_b4k":plain   ("laion/CLIP-ViT-B-32-CommonPool.M.basic-s128M-b4K"),
    "clip_vit_base_patch32_224.commonpool_m_s128m_b4k":      plain   ("laion/CLIP-ViT-B-32-CommonPool.M-s128M-b4K"),
    "clip_vit_base_patch32_224.datacomp_s_s13m_b4k":         plain   ("laion/CLIP-ViT-B-32-DataComp.S-s13M-b4K"),
    "clip_vit_base_patch32_224.commonpool_s_clip_s13m_b4k":  plain   ("laion/CLIP-ViT-B-32-CommonPool.S.clip-s13M-b4K"),
    "clip_vit_base_patch32_224.commonpool_s_laion_s13m_b4k": plain   ("laion/CLIP-ViT-B-32-CommonPool.S.laion-s13M-b4K"),
    "clip_vit_base_patch32_224.commonpool_s_image_s13m_b4k": plain   ("laion/CLIP-ViT-B-32-CommonPool.S.image-s13M-b4K"),
    "clip_vit_base_patch32_224.commonpool_s_text_s13m_b4k":  plain   ("laion/CLIP-ViT-B-32-CommonPool.S.text-s13M-b4K"),
    "clip_vit_base_patch32_224.commonpool_s_basic_s13m_b4k": plain   ("laion/CLIP-ViT-B-32-CommonPool.S.basic-s13M-b4K"),
    "clip_vit_base_patch32_224.commonpool_s_s13m_b4k":       plain   ("laion/CLIP-ViT-B-32-CommonPool.S-s13M-b4K"),
    "clip_vit_base_patch32_224.metaclip_400m":               meta    ("timm/vit_base_patch32_clip_224.metaclip_400m"),
    "clip_vit_base_patch32_224.metaclip_fullcc":             meta    ("timm/vit_base_patch32_clip_224.metaclip_2pt5b"),
    "clip_vit_base_patch32_256.datacomp_s34b_b86k":          plain   ("laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K"),
    "clip_vit_base_patch16_224.openai":                      openai  ("ViT-B-16.pt",
        sha256="5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"),
    "clip_vit_base_patch16_224.laion400m_e31":               plain   ("timm/vit_base_patch16_clip_224.laion400m_e31"),
    "clip_vit_base_patch16_224.laion400m_e32":               plain   ("timm/vit_base_patch16_clip_224.laion400m_e32"),
    "clip_vit_base_patch16_224.laion2b_s34b_b88k":           plain   ("laion/CLIP-ViT-B-16-laion2B-s34B-b88K"),
    "clip_vit_base_patch16_224.datacomp_xl_s13b_b90k":       plain   ("laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K"),
    "clip_vit_base_patch16_224.datacomp_l_s1b_b8k":          plain   ("laion/CLIP-ViT-B-16-DataComp.L-s1B-b8K"),
    "clip_vit_base_patch16_224.commonpool_l_clip_s1b_b8k":   plain   ("laion/CLIP-ViT-B-16-CommonPool.L.clip-s1B-b8K"),
    "clip_vit_base_patch16_224.commonpool_l_laion_s1b_b8k":  plain   ("laion/CLIP-ViT-B-16-CommonPool.L.laion-s1B-b8K"),
    "clip_vit_base_patch16_224.commonpool_l_image_s1b_b8k":  plain   ("laion/CLIP-ViT-B-16-CommonPool.L.image-s1B-b8K"),
    "clip_vit_base_patch16_224.commonpool_l_text_s1b_b8k":   plain   ("laion/CLIP-ViT-B-16-CommonPool.L.text-s1B-b8K"),
    "clip_vit_base_patch16_224.commonpool_l_basic_s1b_b8k":  plain   ("laion/CLIP-ViT-B-16-CommonPool.L.basic-s1B-b8K"),
    "clip_vit_base_patch16_224.commonpool_l_s1b_b8k":        plain   ("laion/CLIP-ViT-B-16-CommonPool.L-s1B-b8K"),
    "clip_vit_base_patch16_224.dfn2b":                       dfn     ("apple/DFN2B-CLIP-ViT-B-16"),
    "clip_vit_base_patch16_224.metaclip_400m":               meta    ("timm/vit_base_patch16_clip_224.metaclip_400m"),
    "clip_vit_base_patch16_224.metaclip_fullcc":             meta    ("timm/vit_base_patch16_clip_224.metaclip_2pt5b"),
    "clip_vit_base_patch16_plus_240.laion400m_e31":          plain   ("timm/vit_base_patch16_plus_clip_240.laion400m_e31"),
    "clip_vit_base_patch16_plus_240.laion400m_e32":          plain   ("timm/vit_base_patch16_plus_clip_240.laion400m_e31"),
    "clip_vit_large_patch14_224.openai":                     openai  ("ViT-L-14.pt",
        sha256="b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"),
    "clip_vit_large_patch14_224.laion400m_e31":              plain   ("timm/vit_large_patch14_clip_224.laion400m_e31"),
    "clip_vit_large_patch14_224.laion400m_e32":              plain   ("timm/vit_large_patch14_clip_224.laion400m_e32"),
    "clip_vit_large_patch14_224.laion2b_s32b_b82k":          half_   ("laion/CLIP-ViT-L-14-laion2B-s32B-b82K"),
    "clip_vit_large_patch14_224.datacomp_xl_s13b_b90k":      plain   ("laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"),
    "clip_vit_large_patch14_224.commonpool_xl_clip_s13b_b90k":plain   ("laion/CLIP-ViT-L-14-CommonPool.XL.clip-s13B-b90K"),
    "clip_vit_large_patch14_224.commonpool_xl_laion_s13b_b90k":plain   ("laion/CLIP-ViT-L-14-CommonPool.XL.laion-s13B-b90K"),
    "clip_vit_large_patch14_224.commonpool_xl_s13b_b90k":    plain   ("laion/CLIP-ViT-L-14-CommonPool.XL-s13B-b90K"),
    "clip_vit_large_patch14_224.metaclip_400m":              meta    ("timm/vit_large_patch14_clip_224.metaclip_400m"),
    "clip_vit_large_patch14_224.metaclip_fullcc":            meta    ("timm/vit_large_patch14_clip_224.metaclip_2pt5b"),
    "clip_vit_large_patch14_224.dfn2b":                      dfn     ("apple/DFN2B-CLIP-ViT-L-14"),
    "clip_vit_large_patch14_224.dfn2b_s39b":                 dfnerf  ("apple/DFN2B-CLIP-ViT-L-14-39B"),
    "clip_vit_large_patch14_mobileclip2_224.dfndr2b":
        published("timm/MobileCLIP2-L-14-OpenCLIP", licence="apple-amlr"),
    "clip_vit_large_patch14_336.openai":                     openai  ("ViT-L-14-336px.pt",
        sha256="3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"),
    "clip_vit_huge_patch14_224.laion2b_s32b_b79k":           plain   ("laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
    "clip_vit_huge_patch14_224.metaclip_fullcc":             meta    ("timm/vit_huge_patch14_clip_224.metaclip_2pt5b"),
    "clip_vit_huge_patch14_224.metaclip_altogether":         metaerf ("timm/vit_huge_patch14_clip_224.metaclip_altogether"),
    "clip_vit_huge_patch14_224.dfn5b":                       dfn     ("apple/DFN5B-CLIP-ViT-H-14", fit="squash"),
    "clip_vit_huge_patch14_378.dfn5b":                       dfn     ("apple/DFN5B-CLIP-ViT-H-14-378", fit="squash"),
    "clip_vit_giant_patch14_224.laion2b_s12b_b42k":          plain   ("laion/CLIP-ViT-g-14-laion2B-s12B-b42K"),
    "clip_vit_giant_patch14_224.laion2b_s34b_b88k":          plain   ("laion/CLIP-ViT-g-14-laion2B-s34B-b88K"),
    "clip_vit_gigantic_patch14_224.laion2b_s39b_b160k":      plain   ("laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"),
    "clip_vit_gigantic_patch14_224.metaclip_fullcc":         meta    ("timm/vit_gigantic_patch14_clip_224.metaclip_2pt5b"),
    "clip_vit_huge_patch14_worldwide_224.metaclip2_worldwide":
        xlmquick("timm/vit_huge_patch14_clip_224.metaclip2_worldwide"),
    "clip_vit_huge_patch14_worldwide_378.metaclip2_worldwide":
        xlm378("timm/vit_huge_patch14_clip_378.metaclip2_worldwide"),
    "clip_vit_gigantic_patch14_worldwide_224.metaclip2_worldwide":
        xlm("timm/vit_gigantic_patch14_clip_224.metaclip2_worldwide"),
    "clip_vit_gigantic_patch14_worldwide_378.metaclip2_worldwide":
        xlm378("timm/vit_gigantic_patch14_clip_378.metaclip2_worldwide"),
    "clip_vit_large_patch14_clipa_224.datacomp1b":           clipa   ("UCSC-VLAA/ViT-L-14-CLIPA-datacomp1B"),
    "clip_vit_large_patch14_clipa_336.datacomp1b":           clipa   ("UCSC-VLAA/ViT-L-14-CLIPA-336-datacomp1B"),
    "clip_vit_huge_patch14_clipa_224.datacomp1b":            clipa   ("UCSC-VLAA/ViT-H-14-CLIPA-datacomp1B"),
    "clip_vit_huge_patch14_clipa_336.laion2b":               clipa   ("UCSC-VLAA/ViT-H-14-CLIPA-336-laion2B"),
    "clip_vit_huge_patch14_clipa_336.datacomp1b":            clipa   ("UCSC-VLAA/ViT-H-14-CLIPA-336-datacomp1B"),
    "clip_vit_gigantic_patch14_clipa_224.datacomp1b":        clipa   ("UCSC-VLAA/ViT-bigG-14-CLIPA-datacomp1B"),
    "clip_vit_gigantic_patch14_clipa_336.datacomp1b":        clipa   ("UCSC-VLAA/ViT-bigG-14-CLIPA-336-datacomp1B"),
    "clip_eva_giant_patch14_224.laion400m_s11b_b41k":        plain   ("timm/eva_giant_patch14_clip_224.laion400m_s11b_b41k"),
    "clip_eva_giant_patch14_plus_224.merged2b_s11b_b114k":
        plain("timm/eva_giant_patch14_plus_clip_224.merged2b_s11b_b114k"),
    "clip_eva02_base_patch16_224.merged2b_s8b_b131k":        plain   ("timm/eva02_base_patch16_clip_224.merged2b_s8b_b131k"),
    "clip_eva02_large_patch14_224.merged2b_s4b_b131k":       plain   ("timm/eva02_large_patch14_clip_224.merged2b_s4b_b131k"),
    "clip_eva02_large_patch14_336.merged2b_s6b_b61k":        plain   ("timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k"),
    "clip_eva02_enormous_patch14_224.laion2b_s4b_b115k":     plain   ("timm/eva02_enormous_patch14_clip_224.laion2b_s4b_b115k"),
    "clip_eva02_enormous_patch14_plus_224.laion2b_s9b_b144k":
        plain("timm/eva02_enormous_patch14_plus_clip_224.laion2b_s9b_b144k"),
    "siglip_vit_base_patch16_224.webli":                     siglip  ("timm/ViT-B-16-SigLIP"),
    "siglip_vit_base_patch16_256.webli":                     siglip  ("timm/ViT-B-16-SigLIP-256"),
    "siglip_vit_base_patch16_i18n_256.webli":                siglip  ("timm/ViT-B-16-SigLIP-i18n-256"),
    "siglip_vit_base_patch16_384.webli":                     siglip  ("timm/ViT-B-16-SigLIP-384"),
    "siglip_vit_base_patch16_512.webli":                     siglip  ("timm/ViT-B-16-SigLIP-512"),
    "siglip_vit_large_patch16_256.webli":                    siglip  ("timm/ViT-L-16-SigLIP-256"),
    "siglip_vit_large_patch16_384.webli":                    siglip  ("timm/ViT-L-16-SigLIP-384"),
    "siglip_vit_so400m_patch16_i18n_256.webli":              siglip  ("timm/ViT-SO400M-16-SigLIP-i18n-256"),
    "siglip_vit_so400m_patch14_224.webli":                   siglip  ("timm/ViT-SO400M-14-SigLIP"),
    "siglip_vit_so400m_patch14_378.webli":                   siglip  ("timm/ViT-SO400M-14-SigLIP-384"),
    "siglip_vit_so400m_patch14_384.webli":                   siglip  ("timm/ViT-SO400M-14-SigLIP-384"),
    "siglip2_vit_base_patch32_256.webli":                    siglip2 ("timm/ViT-B-32-SigLIP2-256"),
    "siglip2_vit_base_patch16_224.webli":                    siglip2 ("timm/ViT-B-16-SigLIP2"),
    "siglip2_vit_base_patch16_256.webli":                    siglip2 ("timm/ViT-B-16-SigLIP2-256"),
    "siglip2_vit_base_patch16_384.webli":                    siglip2 ("timm/ViT-B-16-SigLIP2-384"),
    "siglip2_vit_base_patch16_512.webli":                    siglip2 ("timm/ViT-B-16-SigLIP2-512"),
    "siglip2_vit_large_patch16_256.webli":                   siglip2 ("timm/ViT-L-16-SigLIP2-256"),
    "siglip2_vit_large_patch16_384.webli":                   siglip2 ("timm/ViT-L-16-SigLIP2-384"),
    "siglip2_vit_large_patch16_512.webli":                   siglip2 ("timm/ViT-L-16-SigLIP2-512"),
    "siglip2_vit_so400m_patch16_256.webli":                  siglip2 ("timm/ViT-SO400M-16-SigLIP2-256"),
    "siglip2_vit_so400m_patch16_384.webli":                  siglip2 ("timm/ViT-SO400M-16-SigLIP2-384"),
    "siglip2_vit_so400m_patch16_512.webli":                  siglip2 ("timm/ViT-SO400M-16-SigLIP2-512"),
    "siglip2_vit_so400m_patch14_224.webli":                  siglip2 ("timm/ViT-SO400M-14-SigLIP2"),
    "siglip2_vit_so400m_patch14_378.webli":                  siglip2 ("timm/ViT-SO400M-14-SigLIP2-378"),
    "siglip2_vit_giantopt_patch16_256.webli":                siglip2 ("timm/ViT-gopt-16-SigLIP2-256"),
    "siglip2_vit_giantopt_patch16_384.webli":                siglip2 ("timm/ViT-gopt-16-SigLIP2-384"),
    # and as transformers 5.23 runs them
    "openai/clip-vit-base-patch32":                   hf_clip ("clip_vit_base_patch32_224"),
    "openai/clip-vit-base-patch16":                   hf_clip ("clip_vit_base_patch16_224"),
    "openai/clip-vit-large-patch14":                  hf_clip ("clip_vit_large_patch14_224"),
    "openai/clip-vit-large-patch14-336":              hf_clip ("clip_vit_large_patch14_336"),
    "google/siglip-base-patch16-224":                 hf_sig  ("siglip_vit_base_patch16_224"),
    "google/siglip-base-patch16-256":                 hf_sig  ("siglip_vit_base_patch16_256"),
    "google/siglip-base-patch16-256-multilingual":    hf_sig  ("siglip_vit_base_patch16_i18n_256"),
    "google/siglip-base-patch16-384":                 hf_sig  ("siglip_vit_base_patch16_384"),
    "google/siglip-base-patch16-512":                 hf_sig  ("siglip_vit_base_patch16_512"),
    "google/siglip-large-patch16-256":                hf_sig  ("siglip_vit_large_patch16_256"),
    "google/siglip-large-patch16-384":                hf_sig  ("siglip_vit_large_patch16_384"),
    "google/siglip-so400m-patch14-224":               hf_sig  ("siglip_vit_so400m_patch14_224"),
    "google/siglip-so400m-patch14-384":               hf_sig  ("siglip_vit_so400m_patch14_384"),
    "google/siglip2-base-patch32-256":                hf_sig2 ("siglip2_vit_base_patch32_256"),
    "google/siglip2-base-patch16-224":                hf_sig2 ("siglip2_vit_base_patch16_224"),
    "google/siglip2-base-patch16-256":                hf_sig2 ("siglip2_vit_base_patch16_256"),
    "google/siglip2-base-patch16-384":                hf_sig2 ("siglip2_vit_base_patch16_384"),
    "google/siglip2-base-patch16-512":                hf_sig2 ("siglip2_vit_base_patch16_512"),
    "google/siglip2-large-patch16-256":               hf_sig2 ("siglip2_vit_large_patch16_256"),
    "google/siglip2-large-patch16-384":               hf_sig2 ("siglip2_vit_large_patch16_384"),
    "google/siglip2-large-patch16-512":               hf_sig2 ("siglip2_vit_large_patch16_512"),
    "google/siglip2-so400m-patch14-224":              hf_sig2 ("siglip2_vit_so400m_patch14_224"),
    "google/siglip2-so400m-patch14-384":              hf_sig2 ("siglip2_vit_so400m_patch14_378", runs=TANH | {"image": 384}),
    "google/siglip2-so400m-patch16-256":              hf_sig2 ("siglip2_vit_so400m_patch16_256"),
    "google/siglip2-so400m-patch16-384":              hf_sig2 ("siglip2_vit_so400m_patch16_384"),
    "google/siglip2-so400m-patch16-512":              hf_sig2 ("siglip2_vit_so400m_patch16_512"),
    "google/siglip2-giant-opt-patch16-256":           hf_sig2 ("siglip2_vit_giantopt_patch16_256"),
    "google/siglip2-giant-opt-patch16-384":           hf_sig2 ("siglip2_vit_giantopt_patch16_384"),
}
# fmt: on
