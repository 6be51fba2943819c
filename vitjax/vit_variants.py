"""Every image tower as a row: timm's and birder's architectures. Stdlib only."""

from functools import partial

from .config import ViTConfig

# fmt: off
#            width depth heads   mlp
tiny       =   192,   12,    3,   768
xsmall     =   256,   10,    4,  1024
wee        =   256,   14,    4,  1280
little     =   320,   14,    5,  1792
small      =   384,   12,    6,  1536
medium     =   512,   12,    8,  2048
mediumd    =   512,   20,    8,  2048
betwixt    =   640,   12,   10,  2560
base       =   768,   12,   12,  3072
so150m2    =   832,   21,   13,  2176
so150m     =   896,   18,   14,  2304
so150m16   =   896,   18,   16,  2320  # birder's
plus       =   896,   12,   14,  3584
large      =  1024,   24,   16,  4096
so400m     =  1152,   27,   16,  4304  # the shape-optimised SoViT (arXiv:2305.13035)
huge       =  1280,   32,   16,  5120
giant      =  1408,   40,   16,  6144
giantopt   =  1536,   40,   16,  6144
giant2     =  1536,   40,   24,  4096  # DINOv2's; gated, 4096 is one of two halves
gigantic   =  1664,   48,   16,  8192
enormous   =  1792,   64,   16, 15360
tiny23     =   192,   12,    3,   512  # of a gated MLP, two thirds
small23    =   384,   12,    6,  1024
base23     =   768,   12,   12,  2048
large23    =  1024,   24,   16,  2730

vit        = ViTConfig
clip       = partial(vit, patch_bias=False, norm_pre=True, eps=1e-5)  # the head is CLIP's projection
quickgelu  = partial(clip, act="quick_gelu")
gap        = partial(vit, cls=False, pool="mean")
sbb        = partial(gap, positions="patches", norm="after", layer_scale=1e-5)
siglip     = partial(vit, cls=False, pool="map", classes=0)
siglipgap  = partial(gap, classes=0)
dinov2     = partial(vit, classes=0, layer_scale=1e-5)
dinov2reg  = partial(dinov2, positions="patches", registers=4)
tips       = partial(vit, classes=0, positions="patches", registers=1, layer_scale=1.0)
flexi      = partial(vit, positions="patches")
deit3      = partial(vit, positions="patches", layer_scale=1e-6)
test       = partial(gap, registers=1, layer_scale=1e-5)
eva        = partial(vit, qkv_bias="qv", pool="mean", norm="after")
eva02      = partial(eva, act="silu", gated=True, packed=True, rotary=True, rotary_grid=16)
eva02sub   = partial(eva02, packed=False, qkv_fused=False, mlp_norm=True)  # sub-LN
evaclip    = partial(vit, qkv_bias="qv")
eva02clip  = partial(eva02sub, attn_norm=True, pool="token", norm="before")
reg        = partial(vit, registers_first=True)
probe      = partial(vit, cls=False, pool="map", pool_act="gelu", pool_eps=1e-5)

# As timm 1.0.31 builds them by default (timm/models/vision_transformer.py, deit.py, eva.py). Checkpoints differ in classes only.
TIMM: dict[str, ViTConfig] = {
    #                                                  image patch size    classes  switches
    # Dosovitskiy et al. 2020, arXiv:2010.11929; giant and gigantic: Zhai et al. 2021, arXiv:2106.04560
    "vit_tiny_patch16_224":                    vit      (224, 16, *tiny),
    "vit_tiny_patch16_384":                    vit      (384, 16, *tiny),
    "vit_small_patch32_224":                   vit      (224, 32, *small),
    "vit_small_patch32_384":                   vit      (384, 32, *small),
    "vit_small_patch16_224":                   vit      (224, 16, *small),
    "vit_small_patch16_384":                   vit      (384, 16, *small),
    "vit_small_patch8_224":                    vit      (224,  8, *small,        0),
    "vit_base_patch32_224":                    vit      (224, 32, *base),
    "vit_base_patch32_384":                    vit      (384, 32, *base),
    "vit_base_patch16_224":                    vit      (224, 16, *base),
    "vit_base_patch16_384":                    vit      (384, 16, *base),
    "vit_base_patch8_224":                     vit      (224,  8, *base),
    "vit_large_patch32_224":                   vit      (224, 32, *large,        0),
    "vit_large_patch32_384":                   vit      (384, 32, *large),
    "vit_large_patch16_224":                   vit      (224, 16, *large),
    "vit_large_patch16_384":                   vit      (384, 16, *large),
    "vit_large_patch14_224":                   vit      (224, 14, *large),
    "vit_huge_patch14_224":                    vit      (224, 14, *huge,         0),
    "vit_giant_patch14_224":                   vit      (224, 14, *giant),
    "vit_gigantic_patch14_224":                vit      (224, 14, *gigantic),
    "vit_base_patch16_224_miil":               vit      (224, 16, *base,     11221, qkv_bias=False),
    # no class token; huge and giant are I-JEPA's (arXiv:2301.08243)
    "vit_medium_patch16_gap_240":              gap      (240, 16, *medium,   11821, qkv_bias=False, layer_scale=1e-6),
    "vit_medium_patch16_gap_256":              gap      (256, 16, *medium,          qkv_bias=False, layer_scale=1e-6),
    "vit_medium_patch16_gap_384":              gap      (384, 16, *medium,          qkv_bias=False, layer_scale=1e-6),
    "vit_betwixt_patch16_gap_256":             gap      (256, 16, *betwixt,         qkv_bias=False, layer_scale=1e-6),
    "vit_base_patch16_gap_224":                gap      (224, 16, 768, 12, 16, 3072),
    "vit_huge_patch14_gap_224":                gap      (224, 14, *huge,         0),
    "vit_huge_patch16_gap_448":                gap      (448, 16, *huge,         0),
    "vit_giant_patch16_gap_224":               gap      (224, 16, *giant,        0),
    # CLIP's image towers; xsmall, medium and betwixt are TinyCLIP's (arXiv:2309.12314)
    "vit_xsmall_patch16_clip_224":             clip     (224, 16, *xsmall,     512),
    "vit_medium_patch32_clip_224":             clip     (224, 32, *medium,     512),
    "vit_medium_patch16_clip_224":             clip     (224, 16, *medium,     512),
    "vit_betwixt_patch32_clip_224":            clip     (224, 32, *betwixt,    512),
    "vit_base_patch32_clip_224":               clip     (224, 32, *base),
    "vit_base_patch32_clip_256":               clip     (256, 32, *base,       512),
    "vit_base_patch32_clip_384":               clip     (384, 32, *base),
    "vit_base_patch32_clip_448":               clip     (448, 32, *base),
    "vit_base_patch16_clip_224":               clip     (224, 16, *base),
    "vit_base_patch16_clip_384":               clip     (384, 16, *base),
    "vit_base_patch16_plus_clip_240":          clip     (240, 16, *plus,       640),
    "vit_large_patch14_clip_224":              clip     (224, 14, *large),
    "vit_large_patch14_clip_336":              clip     (336, 14, *large),
    "vit_huge_patch14_clip_224":               clip     (224, 14, *huge),
    "vit_huge_patch14_clip_336":               clip     (336, 14, *huge),
    "vit_huge_patch14_clip_378":               clip     (378, 14, *huge,      1024),
    "vit_giant_patch14_clip_224":              clip     (224, 14, *giant,     1024),
    "vit_gigantic_patch14_clip_224":           clip     (224, 14, *gigantic,  1280),
    "vit_gigantic_patch14_clip_378":           clip     (378, 14, *gigantic,  1280),
    "vit_base_patch32_clip_quickgelu_224":     quickgelu(224, 32, *base,       512),
    "vit_base_patch16_clip_quickgelu_224":     quickgelu(224, 16, *base,       512),
    "vit_large_patch14_clip_quickgelu_224":    quickgelu(224, 14, *large,      768),
    "vit_large_patch14_clip_quickgelu_336":    quickgelu(336, 14, *large,      768),
    "vit_huge_patch14_clip_quickgelu_224":     quickgelu(224, 14, *huge,      1024),
    "vit_huge_patch14_clip_quickgelu_378":     quickgelu(378, 14, *huge,      1024),
    "vit_gigantic_patch14_clip_quickgelu_224": quickgelu(224, 14, *gigantic,  1280),
    # experiments of timm's; rpn is the post-norm of Swin V2 (arXiv:2111.09883), 36x1 from arXiv:2203.09795
    "vit_base_patch32_plus_256":               vit      (256, 32, *plus,            layer_scale=1e-5),
    "vit_base_patch16_plus_240":               vit      (240, 16, *plus,            layer_scale=1e-5),
    "vit_base_patch16_rpn_224":                gap      (224, 16, *base,            qkv_bias=False, norm_post=True, norm="after"),
    "vit_small_patch16_36x1_224":              vit      (224, 16, 384, 36, 6, 1536, layer_scale=1e-5),
    # EVA (arXiv:2211.07636); EVA-L is a plain one, giant has no bias of keys
    "eva_large_patch14_196":                   vit      (196, 14, *large,           pool="mean", norm="after"),
    "eva_large_patch14_336":                   vit      (336, 14, *large,           pool="mean", norm="after"),
    "eva_giant_patch14_224":                   eva      (224, 14, *giant),
    "eva_giant_patch14_336":                   eva      (336, 14, *giant),
    "eva_giant_patch14_560":                   eva      (560, 14, *giant),
    "eva_giant_patch14_clip_224":              evaclip  (224, 14, *giant,    1024),
    # EVA-02 (arXiv:2303.11331) and EVA-CLIP's towers (arXiv:2303.15389)
    "eva02_tiny_patch14_224":                  eva02    (224, 14, *tiny23,      0),
    "eva02_tiny_patch14_336":                  eva02    (336, 14, *tiny23),
    "eva02_small_patch14_224":                 eva02    (224, 14, *small23,     0),
    "eva02_small_patch14_336":                 eva02    (336, 14, *small23),
    "eva02_base_patch14_224":                  eva02sub (224, 14, *base23,      0),
    "eva02_base_patch14_448":                  eva02sub (448, 14, *base23),
    "eva02_large_patch14_224":                 eva02sub (224, 14, *large23,     0),
    "eva02_large_patch14_448":                 eva02sub (448, 14, *large23),
    "eva02_base_patch16_clip_224":             eva02clip(224, 16, *base23,    512),
    "eva02_large_patch14_clip_224":            eva02clip(224, 14, *large23,   768),
    "eva02_large_patch14_clip_336":            eva02clip(336, 14, *large23,   768),
    "eva02_enormous_patch14_clip_224":         evaclip  (224, 14, *enormous,   1024, norm_post=True),
    # FlexiViT (arXiv:2212.08013), which saw all patch sizes and is published at 16
    "flexivit_small":                          flexi    (240, 16, *small),
    "flexivit_base":                           flexi    (240, 16, *base),
    "flexivit_large":                          flexi    (240, 16, *large),
    # DINOv2 (arXiv:2304.07193), and TIPSv2 (arXiv:2604.12012)
    "vit_small_patch14_dinov2":                dinov2   (518, 14, *small),
    "vit_base_patch14_dinov2":                 dinov2   (518, 14, *base),
    "vit_large_patch14_dinov2":                dinov2   (518, 14, *large),
    "vit_giant_patch14_dinov2":                dinov2   (518, 14, *giant2,          act="silu", gated=True, packed=True),
    "vit_small_patch14_reg4_dinov2":           dinov2reg(518, 14, *small),
    "vit_base_patch14_reg4_dinov2":            dinov2reg(518, 14, *base),
    "vit_large_patch14_reg4_dinov2":           dinov2reg(518, 14, *large),
    "vit_giant_patch14_reg4_dinov2":           dinov2reg(518, 14, *giant2,          act="silu", gated=True, packed=True),
    "vit_base_patch14_reg1_tipsv2":            tips     (448, 14, *base),
    "vit_large_patch14_reg1_tipsv2":           tips     (448, 14, *large),
    "vit_so400m_patch14_reg1_tipsv2":          tips     (448, 14, *so400m),
    "vit_giant_patch14_reg1_tipsv2":           tips     (448, 14, *giant2,          act="silu", gated=True, packed=True),
    # SigLIP (arXiv:2303.15343) and SigLIP 2 (arXiv:2502.14786)
    "vit_base_patch32_siglip_256":             siglip   (256, 32, *base,            act="gelu_tanh"),
    "vit_base_patch16_siglip_224":             siglip   (224, 16, *base),
    "vit_base_patch16_siglip_256":             siglip   (256, 16, *base),
    "vit_base_patch16_siglip_384":             siglip   (384, 16, *base),
    "vit_base_patch16_siglip_512":             siglip   (512, 16, *base),
    "vit_large_patch16_siglip_256":            siglip   (256, 16, *large),
    "vit_large_patch16_siglip_384":            siglip   (384, 16, *large),
    "vit_large_patch16_siglip_512":            siglip   (512, 16, *large,           act="gelu_tanh"),
    "vit_so400m_patch14_siglip_224":           siglip   (224, 14, *so400m),
    "vit_so400m_patch14_siglip_378":           siglip   (378, 14, *so400m),
    "vit_so400m_patch14_siglip_384":           siglip   (384, 14, *so400m),
    "vit_so400m_patch16_siglip_256":           siglip   (256, 16, *so400m,          act="gelu_tanh"),
    "vit_so400m_patch16_siglip_384":           siglip   (384, 16, *so400m,          act="gelu_tanh"),
    "vit_so400m_patch16_siglip_512":           siglip   (512, 16, *so400m,          act="gelu_tanh"),
    "vit_giantopt_patch16_siglip_256":         siglip   (256, 16, *giantopt,        act="gelu_tanh"),
    "vit_giantopt_patch16_siglip_384":         siglip   (384, 16, *giantopt,        act="gelu_tanh"),
    "vit_base_patch32_siglip_gap_256":         siglipgap(256, 32, *base,            act="gelu_tanh"),
    "vit_base_patch16_siglip_gap_224":         siglipgap(224, 16, *base),
    "vit_base_patch16_siglip_gap_256":         siglipgap(256, 16, *base),
    "vit_base_patch16_siglip_gap_384":         siglipgap(384, 16, *base),
    "vit_base_patch16_siglip_gap_512":         siglipgap(512, 16, *base),
    "vit_large_patch16_siglip_gap_256":        siglipgap(256, 16, *large),
    "vit_large_patch16_siglip_gap_384":        siglipgap(384, 16, *large),
    "vit_large_patch16_siglip_gap_512":        siglipgap(512, 16, *large,           act="gelu_tanh"),
    "vit_so400m_patch14_siglip_gap_224":       siglipgap(224, 14, *so400m),
    "vit_so400m_patch14_siglip_gap_378":       siglipgap(378, 14, *so400m),
    "vit_so400m_patch14_siglip_gap_384":       siglipgap(384, 14, *so400m),
    "vit_so400m_patch14_siglip_gap_448":       siglipgap(448, 14, *so400m),
    "vit_so400m_patch14_siglip_gap_896":       siglipgap(896, 14, *so400m),
    "vit_so400m_patch16_siglip_gap_256":       siglipgap(256, 16, *so400m,          act="gelu_tanh"),
    "vit_so400m_patch16_siglip_gap_384":       siglipgap(384, 16, *so400m,          act="gelu_tanh"),
    "vit_so400m_patch16_siglip_gap_512":       siglipgap(512, 16, *so400m,          act="gelu_tanh"),
    "vit_giantopt_patch16_siglip_gap_256":     siglipgap(256, 16, *giantopt,        act="gelu_tanh"),
    "vit_giantopt_patch16_siglip_gap_384":     siglipgap(384, 16, *giantopt,        act="gelu_tanh"),
    # registers and no class token: timm's search for better ViT baselines; so150m after SoViT (arXiv:2305.13035)
    "vit_wee_patch16_reg1_gap_256":            sbb      (256, 16, *wee,             registers=1),
    "vit_little_patch16_reg1_gap_256":         sbb      (256, 16, *little,          registers=1),
    "vit_little_patch16_reg4_gap_256":         sbb      (256, 16, *little,          registers=4),
    "vit_medium_patch16_reg1_gap_256":         sbb      (256, 16, *medium,          registers=1),
    "vit_medium_patch16_reg4_gap_256":         sbb      (256, 16, *medium,          registers=4),
    "vit_mediumd_patch16_reg4_gap_256":        sbb      (256, 16, *mediumd,         registers=4),
    "vit_mediumd_patch16_reg4_gap_384":        sbb      (384, 16, *mediumd,         registers=4),
    "vit_betwixt_patch16_reg1_gap_256":        sbb      (256, 16, *betwixt,         registers=1),
    "vit_betwixt_patch16_reg4_gap_256":        sbb      (256, 16, *betwixt,         registers=4),
    "vit_betwixt_patch16_reg4_gap_384":        sbb      (384, 16, *betwixt,         registers=4),
    "vit_base_patch16_reg4_gap_256":           sbb      (256, 16, *base,            registers=4, layer_scale=None),
    "vit_so150m_patch16_reg4_map_256":         gap      (256, 16, *so150m,          registers=4, pool="map"),
    "vit_so150m_patch16_reg4_gap_256":         gap      (256, 16, *so150m,          registers=4),
    "vit_so150m_patch16_reg4_gap_384":         gap      (384, 16, *so150m,          registers=4),
    "vit_so150m2_patch16_reg1_gap_256":        sbb      (256, 16, *so150m2,         positions="all", qkv_bias=False, registers=1),
    "vit_so150m2_patch16_reg1_gap_384":        sbb      (384, 16, *so150m2,         positions="all", qkv_bias=False, registers=1),
    "vit_so150m2_patch16_reg1_gap_448":        sbb      (448, 16, *so150m2,         positions="all", qkv_bias=False, registers=1),
    # InternViT (arXiv:2312.14238)
    "vit_intern300m_patch14_448":              vit      (448, 14, *large,        0, layer_scale=0.1, norm="none"),
    # small: ours travels with the package, timm's are for tests
    "vit_pico_patch4_32":                      vit      ( 32,  4, 64, 4, 4, 128, 10),
    "test_vit":                                vit      (160, 16, 64, 6, 2, 192),
    "test_vit2":                               test     (160, 16, 64, 8, 2, 192, norm="after"),
    "test_vit3":                               test     (160, 16, 96, 9, 3, 192, pool="map", pool_prefix=True),
    # DeiT (arXiv:2012.12877) and DeiT III (arXiv:2204.07118)
    "deit_tiny_patch16_224":                   vit      (224, 16, *tiny),
    "deit_small_patch16_224":                  vit      (224, 16, *small),
    "deit_base_patch16_224":                   vit      (224, 16, *base),
    "deit_base_patch16_384":                   vit      (384, 16, *base),
    "deit3_small_patch16_224":                 deit3    (224, 16, *small),
    "deit3_small_patch16_384":                 deit3    (384, 16, *small),
    "deit3_medium_patch16_224":                deit3    (224, 16, *medium),
    "deit3_base_patch16_224":                  deit3    (224, 16, *base),
    "deit3_base_patch16_384":                  deit3    (384, 16, *base),
    "deit3_large_patch16_224":                 deit3    (224, 16, *large),
    "deit3_large_patch16_384":                 deit3    (384, 16, *large),
    "deit3_huge_patch14_224":                  deit3    (224, 14, *huge),
}

# As birder 0.8.4 builds them (birder/net/_vit_configs.py), but for the rates of training.
BIRDER: dict[str, ViTConfig] = {
    "vit_t32":                                vit      (224, 32, *tiny),
    "vit_t16":                                vit      (224, 16, *tiny),
    "vit_t14":                                vit      (224, 14, *tiny),
    "vit_s32":                                vit      (224, 32, *small),
    "vit_s16":                                vit      (224, 16, *small),
    "vit_s16_avg":                            gap      (224, 16, *small),
    "vit_s16_ls":                             vit      (224, 16, *small, layer_scale=1e-5),
    "vit_s16_pn":                             clip     (224, 16, *small),
    "vit_s14":                                vit      (224, 14, *small),
    "vit_m32":                                vit      (224, 32, *medium),
    "vit_m16":                                vit      (224, 16, *medium),
    "vit_m16_avg":                            gap      (224, 16, *medium),
    "vit_m14":                                vit      (224, 14, *medium),
    "vit_b32":                                vit      (224, 32, *base),
    "vit_b32_pn":                             clip     (224, 32, *base),
    "vit_b32_pn_npn":                         clip     (224, 32, *base,  norm="none"),
    "vit_b16":                                vit      (224, 16, *base),
    "vit_b16_avg":                            gap      (224, 16, *base),
    "vit_b16_ls":                             vit      (224, 16, *base,  layer_scale=1e-5),
    "vit_b16_pn":                             clip     (224, 16, *base),
    "vit_b16_pn_quick_gelu":                  quickgelu(224, 16, *base),
    "vit_b16_ap":                             probe    (224, 16, *base),
    "vit_b16_ap_c1":                          probe    (224, 16, *base,  pool_eps=1e-6),
    "vit_b16_qkn_ls":                         vit      (224, 16, *base,  layer_scale=1e-5, qk_norm=True),
    "vit_b16_nf_swiglu":                      vit      (224, 16, *base,  attn_norm=True, act="silu", gated=True, mlp_norm=True),
    "vit_b14":                                vit      (224, 14, *base),
    "vit_so150m_p16_avg":                     gap      (224, 16, *so150m16),
    "vit_so150m_p14_avg":                     gap      (224, 14, *so150m16),
    "vit_so150m_p14_ap":                      probe    (224, 14, *so150m16),
    "vit_l32":                                vit      (224, 32, *large),
    "vit_l16":                                vit      (224, 16, *large),
    "vit_l16_avg":                            gap      (224, 16, *large),
    "vit_l16_ap":                             probe    (224, 16, *large),
    "vit_l16_ap_c1":                          probe    (224, 16, *large, pool_eps=1e-6),
    "vit_l14":                                vit      (224, 14, *large),
    "vit_l14_pn":                             clip     (224, 14, *large),
    "vit_l14_pn_npn":                         clip     (224, 14, *large, norm="none"),
    "vit_l14_pn_quick_gelu":                  quickgelu(224, 14, *large),
    "vit_so400m_p16_avg":                     gap      (224, 16, *so400m),
    "vit_so400m_p14_ap":                      probe    (224, 14, *so400m),
    "vit_so400m_p14_ap_c1":                   probe    (224, 14, *so400m,pool_eps=1e-6),
    "vit_h16":                                vit      (224, 16, *huge),
    "vit_h14":                                vit      (224, 14, *huge),
    "vit_h14_pn":                             clip     (224, 14, *huge),
    "vit_g16":                                vit      (224, 16, *giant),
    "vit_g14":                                vit      (224, 14, *giant),
    "vit_1b_p16":                             vit      (224, 16, 1536, 40, 24, 6144),
    "vit_gigantic14":                         vit      (224, 14, *gigantic),
    "vit_e14":                                vit      (224, 14, 1792, 56, 16, 15360),
    "vit_reg1_t32":                           reg      (224, 32, *tiny,  registers=1),
    "vit_reg1_t16":                           reg      (224, 16, *tiny,  registers=1),
    "vit_reg1_t14":                           reg      (224, 14, *tiny,  registers=1),
    "vit_reg1_s32":                           reg      (224, 32, *small, registers=1),
    "vit_reg1_s16":                           reg      (224, 16, *small, registers=1),
    "vit_reg1_s16_ls":                        reg      (224, 16, *small, registers=1, layer_scale=1e-5),
    "vit_reg1_s16_nap_avg":                   gap      (224, 16, *small, registers=1, norm="after"),
    "vit_reg1_s14":                           reg      (224, 14, *small, registers=1),
    "vit_reg1_s14_ls":                        reg      (224, 14, *small, registers=1, layer_scale=1e-5),
    "vit_reg4_s14_nps_ls":                    reg      (224, 14, *small, registers=4, positions="patches", layer_scale=1e-5),
    "vit_reg4_m32":                           reg      (224, 32, *medium,registers=4),
    "vit_reg4_m16":                           reg      (224, 16, *medium,registers=4),
    "vit_reg4_m14":                           reg      (224, 14, *medium,registers=4),
    "vit_reg4_b32":                           reg      (224, 32, *base,  registers=4),
    "vit_reg1_b16_nap_avg":                   gap      (224, 16, *base,  registers=1, norm="after"),
    "vit_reg4_b16":                           reg      (224, 16, *base,  registers=4),
    "vit_reg4_b16_avg":                       gap      (224, 16, *base,  registers=4),
    "vit_reg1_b14":                           reg      (224, 14, *base,  registers=1),
    "vit_reg4_b14":                           reg      (224, 14, *base,  registers=4),
    "vit_reg8_b14_ap":                        probe    (224, 14, *base,  registers=8),
    "vit_reg4_b14_nps_ls":                    reg      (224, 14, *base,  registers=4, positions="patches", layer_scale=1e-5),
    "vit_reg4_so150m_p16_avg":                gap      (224, 16, *so150m16,registers=4),
    "vit_reg8_so150m_p16_swiglu_ap":          probe    (224, 16, *so150m16,registers=8, act="silu", gated=True),
    "vit_reg4_so150m_p14_avg":                gap      (224, 14, *so150m16,registers=4),
    "vit_reg4_so150m_p14_ls":                 reg      (224, 14, *so150m16,registers=4, layer_scale=1e-5),
    "vit_reg4_so150m_p14_ap":                 probe    (224, 14, *so150m16,registers=4),
    "vit_reg4_so150m_p14_aps":                probe    (224, 14, *so150m16,registers=4, pool_prefix=True),
    "vit_reg8_so150m_p14_avg":                gap      (224, 14, *so150m16,registers=8),
    "vit_reg8_so150m_p14_swiglu":             reg      (224, 14, *so150m16,registers=8, act="silu", gated=True),
    "vit_reg8_so150m_p14_swiglu_avg":         gap      (224, 14, *so150m16,registers=8, act="silu", gated=True),
    "vit_reg8_so150m_p14_ap":                 probe    (224, 14, *so150m16,registers=8),
    "vit_reg4_l32":                           reg      (224, 32, *large, registers=4),
    "vit_reg4_l16":                           reg      (224, 16, *large, registers=4),
    "vit_reg8_l16_avg":                       gap      (224, 16, *large, registers=8),
    "vit_reg8_l16_aps":                       probe    (224, 16, *large, registers=8, pool_prefix=True),
    "vit_reg1_l14_nap_avg":                   gap      (224, 14, *large, registers=1, norm="after"),
    "vit_reg4_l14":                           reg      (224, 14, *large, registers=4),
    "vit_reg4_l14_nps_ls":                    reg      (224, 14, *large, registers=4, positions="patches", layer_scale=1e-5),
    "vit_reg8_l14_ap":                        probe    (224, 14, *large, registers=8),
    "vit_reg8_so400m_p14_ap":                 probe    (224, 14, *so400m,registers=8),
    "vit_reg4_h16":                           reg      (224, 16, *huge,  registers=4),
    "vit_reg4_h14":                           reg      (224, 14, *huge,  registers=4),
    "vit_reg4_g16":                           reg      (224, 16, *giant, registers=4),
    "vit_reg4_g14":                           reg      (224, 14, *giant, registers=4),
    "vit_reg4_gigantic14":                    reg      (224, 14, *gigantic,registers=4),
}

# What timm and birder have in the same files and we have not, and why.
REFUSED = {
    "vit_*_xp_*":         "its blocks run attention and MLP side by side, under RMSNorm",
    "vit_*_18x2_*":       "its blocks hold two attentions, then two MLPs, side by side",
    "vit_pwee_*":         "its blocks run attention and MLP side by side",
    "vit_dwee_*":         "it has differential attention",
    "vit_dpwee_*":        "it has differential attention, side by side with the MLP",
    "vit_dlittle_*":      "it has differential attention",
    "deit_*_distilled_*": "it has a second class token with a head of its own",
    "aimv2_*":            "it has RMSNorm and no biases",
    "test_vit4":          "it has RMSNorm",
    "beit3_*":            "its weights are one branch of a multimodal encoder's",
    "vit_*_radio_*":      "its positions are a 128 x 128 grid, resampled on loading",
    "vit_parallel_*":     "its blocks hold two attentions, then two MLPs, side by side",
    "vit_sam_*":          "its attention is within windows, with relative positions",
    "rope_*":             "its rotary positions pair numbers, or count patches, otherwise than EVA-02's",
    "vit_*_rope_reg*":    "it has no row yet, though all of its parts are here: give its config",
    "vit_*_rope_*":       "its rotary positions are ROPE-ViT's: columns before rows, at other frequencies or learned ones",
    "vit_*_dinov3*":      "its rotary positions are of coordinates between -1 and 1",
    "vit_*_lingbot":      "its rotary positions are of coordinates between -1 and 1",
    "vit_*_sapiens2":     "it has RMSNorm, and heads that share keys and values",
    "vit_pe_*":           "its rotary positions count from 1, columns before rows",
    "naflex_*":           "its pictures keep their proportions, and positions are resampled for each",
    "vit_*_hmlp*":        "its patches are cut by three convolutions",
    "vit_*_rms_*":        "it has RMSNorm",
    "vit_*_eps":          "its pooling is efficient probing",
    "vit_*_soft_moe_*":   "half of its MLPs are mixtures of experts",
}
# fmt: on
