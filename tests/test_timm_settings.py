"""timm's config.json: what it says wins over the row; what is unknown, impossible or contradictory is an error that names it."""

import json
from dataclasses import replace

import pytest

import vitjax
from vitjax import Error, Preprocess, Spec, ViTConfig, variants
from vitjax.converters import export, timm_settings
from vitjax.converters.files import Bundle
from vitjax.converters.timm import TIMM
from vitjax.converters.timm_arguments import is_eva


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """test_vit as timm would save it."""
    model = vitjax.create("test_vit", classes=4)
    return export(model.spec, model.params, tmp_path_factory.mktemp("timm") / "x").parent


@pytest.fixture
def read(folder):
    """The Spec of the folder with its config.json changed, wherever timm keeps a key; or that of another architecture."""
    whole = json.loads((folder / "config.json").read_text())

    def read(top=(), cfg=(), args=(), drop=(), arch=None):
        data = json.loads(json.dumps(timm_settings.write(variants.spec(arch)) if arch else whole)) | dict(top)
        data["pretrained_cfg"] |= dict(cfg)
        data["model_args"] |= dict(args)
        for key in drop:
            data.pop(key, None), data["pretrained_cfg"].pop(key, None)
        return timm_settings.read(Bundle(folder / "model.safetensors", {}, data))

    return read


def test_what_the_file_says_wins(read):
    row = variants.VARIANTS["test_vit"]
    assert read().config == replace(row, classes=4)
    fit = {"crop_pct": 0.9, "crop_mode": "border", "interpolation": "bilinear"}
    spec = read(
        cfg={"input_size": [3, 64, 96], "mean": [0, 0.1, 0.2], "std": [1, 2, 3]} | fit,
        args={"depth": 2, "reg_tokens": 3, "init_values": 0.1, "drop_path_rate": 0.2, "pos_drop_rate": 0.5},
    )
    assert spec.config == replace(row, classes=4, image=(64, 96), depth=2, registers=3, layer_scale=0.1, drop_path=0.2)
    assert spec.preprocess == Preprocess((64, 96), 0.9, "border", "bilinear", (0.0, 0.1, 0.2), (1.0, 2.0, 3.0))


def test_model_args_win_over_pretrained_cfg(read):
    assert read(args={"img_size": 64}).config.image == 64
    assert read(args={"img_size": [64, 64]}).config.image == 64
    assert read(args={"num_classes": 7}, drop=["num_classes"]).config.classes == 7


@pytest.mark.parametrize(
    ("args", "pool", "norm"),
    [
        ({}, "token", "before"),
        ({"global_pool": "avg"}, "mean", "after"),  # timm moves the norm behind a mean unless told otherwise
        ({"global_pool": "avg", "fc_norm": False}, "mean", "before"),
        ({"fc_norm": True}, "token", "after"),
        ({"global_pool": "map"}, "map", "before"),
        ({"final_norm": False}, "token", "none"),
    ],
)
def test_where_the_norm_goes(read, args, pool, norm):
    config = read(args=args, drop=["global_pool"]).config
    assert (config.pool, config.norm) == (pool, norm)


def test_labels(read):
    names = ["n1", "n2", "n3", "n4"]
    assert read(top={"label_names": names}).labels == tuple(names)
    assert read(top={"label_names": {"1": "b", "0": "a", "3": "d", "2": "c"}}).labels == tuple("abcd")
    described = {"label_names": names, "label_descriptions": {"n2": "a dog"}}
    assert read(top=described).labels == ("n1", "a dog", "n3", "n4")
    assert read(cfg=described).labels == ("n1", "a dog", "n3", "n4")
    assert read().labels == ()  # four classes that the row does not have names for
    assert read(top={"num_classes": 1000}, cfg={"tag": "r160_in1k"}).labels[281] == "tabby, tabby cat"


def test_an_older_file_is_one_flat_object(folder):
    old = {
        "architecture": "test_vit",
        "num_classes": 4,
        "num_features": 64,
        "input_size": [3, 96, 96],
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    spec = timm_settings.read(Bundle(folder / "model.safetensors", {}, old | {"labels": ["a", "b", "c", "d"]}))
    assert (spec.config.image, spec.preprocess.mean, spec.labels) == (96, (0.5, 0.5, 0.5), ("a", "b", "c", "d"))


def test_another_library_s_file_is_not_ours(folder):
    assert timm_settings.read(Bundle(folder / "model.safetensors", {}, {"model_type": "vit", "hidden_size": 64})) is None
    assert timm_settings.read(Bundle(folder / "model.safetensors", {}, None)) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"top": {"architecture": "test_vti"}}, "test_vti.*test_vit"),
        ({"top": {"architecture": "vit_base_patch16_xp_224"}}, "RMSNorm"),
        ({"top": {"architectur": 1}}, "architectur.*architecture"),
        ({"cfg": {"interpolaton": "bicubic"}}, "interpolaton.*interpolation"),
        ({"args": {"embed_dims": 64}}, "embed_dims.*embed_dim"),
        ({"args": {"in_chans": 1}}, "in_chans=1.*RGB"),
        ({"cfg": {"input_size": [1, 160, 160]}}, "in_chans=1"),
        ({"args": {"norm_layer": "rmsnorm"}}, "norm_layer"),
        ({"args": {"act_layer": "relu"}}, "relu"),
        ({"args": {"global_pool": "avgmax"}}, "avgmax.*token, avg, map"),
        ({"cfg": {"interpolation": "lanczos"}}, "lanczos.*bicubic"),
        ({"cfg": {"crop_mode": "centre"}}, "centre.*center"),
        ({"cfg": {"mean": [0.5]}}, "mean"),
        ({"cfg": {"input_size": "big"}}, "config.json"),
        ({"cfg": {"crop_pct": "all"}}, "config.json"),
        ({"args": {"depth": "12"}}, "depth"),
        ({"args": {"num_heads": 7}}, "64 does not divide into 7"),
        ({"args": {"patch_size": [16, 8]}}, "patch"),
        ({"args": {"class_token": False}}, "class token"),
        ({"top": {"num_features": 65}}, "num_features 65 contradicts"),
        ({"top": {"global_pool": "avg"}}, "global_pool 'avg' contradicts"),
        ({"top": {"label_names": ["one"]}}, "1 label_names for 4 classes"),
    ],
)
def test_refused(read, change, said):
    with pytest.raises(Error, match=said) as error:
        read(**change)
    assert "config.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_written_settings_read_the_same(folder):
    """For every row: the config.json that timm gets says the row again."""
    for name, row in variants.TIMM.items():
        spec = variants.spec(name)
        data = json.loads(json.dumps(timm_settings.write(spec)))
        again = timm_settings.read(Bundle(folder / "model.safetensors", {}, data))
        if name not in timm_settings.OURS:
            assert data["architecture"] == name
            assert data["model_args"] == {}
        assert again.config == row, name
        assert again.preprocess == spec.preprocess
        assert variants.architecture_of(again.name) == name


# Eva: every switch is an argument

TINY = "eva02_tiny_patch14_224"
EVA = [  # architecture, arguments, what they say
    (TINY, {}, {}),
    (TINY, {"qkv_bias": False, "qkv_fused": False}, {"qkv_bias": False, "qkv_fused": False}),
    (TINY, {"ref_feat_shape": [4, 6]}, {"rotary_grid": (4, 6)}),
    (TINY, {"ref_feat_shape": 24}, {"rotary_grid": 24}),
    (TINY, {"ref_feat_shape": None}, {"rotary_grid": None}),
    (TINY, {"use_rot_pos_emb": False}, {"rotary": False, "rotary_grid": None}),
    (TINY, {"use_abs_pos_emb": False, "class_token": False}, {"positions": "none", "cls": False}),
    (TINY, {"num_reg_tokens": 4, "no_embed_class": True}, {"registers": 4, "positions": "patches"}),
    (TINY, {"swiglu_mlp": False}, {"gated": False, "packed": False, "act": "gelu"}),
    (TINY, {"scale_mlp": True}, {"mlp_norm": True, "packed": False}),
    (TINY, {"swiglu_align_to": 1}, {"packed": False}),
    (TINY, {"swiglu_align_to": 100}, {"packed": False, "mlp": 600}),
    (TINY, {"swiglu_align_to": 100, "use_post_norm": True}, {"norm_post": True}),
    (TINY, {"use_post_norm": True, "init_values": 0.1}, {"norm_post": True}),
    (TINY, {"init_values": 0.0}, {"layer_scale": 0.0}),
    (TINY, {"scale_attn_inner": True, "qk_norm": True}, {"attn_norm": True, "qk_norm": True}),
    (TINY, {"use_pre_transformer_norm": True}, {"norm_pre": True, "patch_bias": False}),
    (TINY, {"use_fc_norm": False}, {"norm": "before"}),
    (TINY, {"use_fc_norm": False, "use_post_transformer_norm": False}, {"norm": "none"}),
    (TINY, {"global_pool": "token"}, {"pool": "token", "norm": "before"}),
    (TINY, {"global_pool": "token", "use_fc_norm": True}, {"pool": "token"}),
    (TINY, {"global_pool": "map"}, {"pool": "map", "norm": "before", "pool_prefix": True, "pool_act": "gelu"}),
    (TINY, {"global_pool": "map", "attn_pool_num_heads": 3, "num_kv_heads": 3}, {"pool": "map", "norm": "before"} |
        {"pool_prefix": True, "pool_act": "gelu"}),
    (TINY, {"drop_rate": 0.1, "head_init_scale": 0, "rope_shift_coords": 0.2, "drop_path_rate": 0.3}, {"drop_path": 0.3}),
    ("eva_giant_patch14_224", {"use_rot_pos_emb": True}, {"rotary": True}),
    ("eva02_enormous_patch14_clip_224", {"use_post_norm": False}, {"norm_post": False}),
]  # fmt: skip


@pytest.mark.parametrize(("arch", "args", "says"), EVA)
def test_what_arguments_of_eva_say(read, arch, args, says):
    config = read(arch=arch, args=args, drop=["global_pool"]).config
    assert config == replace(variants.VARIANTS[arch], **says)
    TIMM.rules(config)
    again = timm_settings.write(Spec(arch, config, Preprocess(config.image)))
    assert read(top=again).config == replace(config, drop_path=0.0)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"rope_type": "dinov3"}, "rope_type 'dinov3'.*only 'cat'"),
        ({"rope_grid_offset": 1.0}, "rope_grid_offset 1.0"),
        ({"rope_grid_indexing": "xy"}, "rope_grid_indexing 'xy'.*only 'ij'"),
        ({"rope_temperature": 100}, "rope_temperature 100"),
        ({"rope_rotate_half": True}, "rope_rotate_half"),
        ({"attn_type": "rope"}, "attn_type 'rope'"),
        ({"norm_layer": "layernorm"}, "norm_layer"),
        ({"dynamic_img_pad": True}, "dynamic_img_pad"),
        ({"attn_only_layer_scale": True}, "attn_only_layer_scale"),
        ({"num_kv_heads": 1}, "num_kv_heads 1.*that of num_heads, 3"),
        ({"attn_pool_mlp_ratio": 4.0, "global_pool": "map"}, "attn_pool_mlp_ratio 4.0.*mlp_ratio"),
        ({"use_fc_norm": True, "use_post_transformer_norm": True}, "one final norm"),
        ({"act_layer": "gelu"}, "act_layer"),  # VisionTransformer's
        ({"reg_tokens": 1}, "reg_tokens.*num_reg_tokens"),
        ({"qkv_bias": "qv"}, "qkv_bias 'qv'"),
        ({"depth": None}, "depth null"),
        ({"class_token": None}, "class_token null"),
        ({"global_pool": "avgmax"}, "avgmax"),
        ({"num_heads": 32}, "multiple of 4"),
        ({"ref_feat_shape": [4.5, 6]}, "rotary_grid"),
    ],
)
def test_what_of_eva_is_refused(read, args, said):
    with pytest.raises(Error, match=said) as error:
        read(arch=TINY, args=args)
    assert "config.json" in str(error.value) and "\n" not in str(error.value)


SIZES = {"image": (12, 8), "patch": 4, "width": 12, "depth": 1, "heads": 3, "mlp": 10, "classes": 5}
SWIGLU = {"act": "silu", "gated": True, "rotary": True, "qkv_bias": "qv"}


@pytest.mark.parametrize(
    ("switches", "said"),
    [
        ({"rotary": True}, "Eva .*qkv_bias=True"),
        ({"qkv_bias": "qv", "bias": False}, "Eva .*: bias=False"),
        ({"qkv_bias": "qv", "act": "quick_gelu"}, "Eva .*: act='quick_gelu'"),
        (SWIGLU | {"act": "gelu"}, "Eva .*: act='gelu'"),
        (SWIGLU | {"packed": True, "mlp_norm": True}, "Eva .*: packed=True"),
        (SWIGLU | {"norm_post": True}, "Eva .*: packed=False"),
        ({"qkv_bias": "qv", "norm_post": True, "layer_scale": 0.1, "qk_norm": True}, "Eva .*: layer_scale=0.1, qk_norm=True"),
        ({"qkv_bias": "qv", "norm_pre": True}, "Eva .*: patch_bias=True"),
        ({"qkv_bias": "qv", "pool": "mean", "pool_prefix": True}, "Eva .*: pool_prefix=True"),
        ({"qkv_bias": "qv", "pool": "map"}, "Eva .*: pool_prefix=False"),
        (SWIGLU | {"pool": "map", "pool_prefix": True}, "Eva .*: pool_act=None"),
        ({"qkv_bias": "qv", "pool": "map", "pool_prefix": True, "pool_eps": 1e-5}, "Eva .*: pool_eps=1e-05"),
        ({"qkv_bias": "qv", "registers": 1, "registers_first": True}, "Eva .*: registers_first=True"),
        ({"qkv_bias": "qv", "registers": 1, "positions": "cls"}, "Eva .*: positions='cls'"),
        ({"qkv_bias": "qv", "representation": 8}, "Eva .*: representation=8"),
        ({"patch_bias": False}, "VisionTransformer .*: patch_bias=False"),
        ({"pool": "map", "pool_act": "gelu"}, "VisionTransformer .*: pool_act='gelu'"),
    ],
)
def test_what_timm_cannot_be(switches, said):
    with pytest.raises(Error, match=said):
        TIMM.rules(ViTConfig(**SIZES, **switches))


@pytest.mark.parametrize(
    ("switches", "eva"),
    [
        ({}, False),
        ({"qkv_bias": False}, False),
        ({"qkv_bias": "qv"}, True),
        ({"qkv_bias": False, "rotary": True}, True),
        ({"qkv_bias": False, "qkv_fused": False}, True),
        ({"qkv_bias": True, "qkv_fused": False}, False),  # which is written as one tensor
        ({"qkv_bias": False, "gated": True, "act": "silu"}, True),
        ({"qkv_bias": False, "gated": True, "act": "silu", "packed": True}, False),
    ],
)
def test_which_class_of_timm_s(switches, eva):
    config = ViTConfig(**SIZES, **switches)
    assert is_eva(config) == eva and TIMM.rules(config)
