"""timm's config.json: what it says wins over the row; what is unknown, impossible or contradictory is an error that names it."""

import json
from dataclasses import replace

import pytest

import vitjax
from vitjax import Error, Preprocess, variants
from vitjax.converters import export, timm_settings
from vitjax.converters.files import Bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """test_vit as timm would save it."""
    model = vitjax.create("test_vit", classes=4)
    return export(model.spec, model.params, tmp_path_factory.mktemp("timm") / "x").parent


@pytest.fixture
def read(folder):
    """The Spec of the folder with its config.json changed: read(depth=3) sets a key wherever timm keeps it."""
    whole = json.loads((folder / "config.json").read_text())

    def read(top=(), cfg=(), args=(), drop=()):
        data = json.loads(json.dumps(whole)) | dict(top)
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
