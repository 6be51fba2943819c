"""open_clip's and OpenAI's files: names read both ways, settings there and back, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import vitjax
from tests.test_mapping import drawn
from tests.test_open_clip import TINY, archive, publish, published, small_trunks  # noqa: F401
from tests.test_parity import under
from vitjax import Error, Spec, variants
from vitjax.clip_variants import CLIPS
from vitjax.clip_weights import WEIGHTS
from vitjax.config import CLIPConfig, Preprocess, TextConfig, Tokenize, ViTConfig
from vitjax.converters import DIALECTS, convert, export
from vitjax.converters.files import OPEN_CLIP_CONFIG, Bundle
from vitjax.converters.identify import respelt
from vitjax.converters.mapping import Report, slots, to_ours, to_theirs
from vitjax.converters.open_clip import OPEN_CLIP
from vitjax.converters.open_clip_settings import _ratio
from vitjax.model import shapes
from vitjax.variants import TIMM, spec

Tensors = dict[str, np.ndarray]


def same(found: Tensors, wanted: Tensors) -> bool:
    return found.keys() == wanted.keys() and all(
        (found[key].tobytes(), found[key].shape, found[key].dtype) == (array.tobytes(), array.shape, array.dtype)
        for key, array in wanted.items()
    )


def test_there_and_back(published, tmp_path):  # noqa: F811
    folder, reference = published
    found, params = convert(folder)
    state = under("state/", reference)
    # A class CLIP with a tower of timm's is written as CustomTextCLIP.
    wanted = spellings(state)["custom"] if "trunk" in folder.name else state
    assert same(load_file(export(found, params, tmp_path / "ours", "open_clip")), wanted)
    again, _ = convert(tmp_path / "ours")
    assert replace(again, name=found.name, source=found.source) == found


# Every kind of network

NATIVE = ViTConfig(8, 4, 12, 2, 3, 20, 5, eps=1e-5, patch_bias=False, norm_pre=True, head_bias=False)
CLIPA = replace(NATIVE, norm_pre=False, pool="mean", norm="after", layer_scale=1e-4)
SIGLIP = replace(TIMM["vit_base_patch16_siglip_224"], image=8, patch=4, width=12, depth=2, heads=3, mlp=20)
GAP = replace(TIMM["vit_medium_patch16_gap_256"], image=8, patch=4, width=12, depth=2, heads=3, mlp=20, classes=5)
TINY_EVA = dict(image=8, patch=4, width=12, depth=2, heads=3, mlp=20, classes=5)
EVA = replace(TIMM["eva_giant_patch14_clip_224"], **TINY_EVA)
EVA02 = replace(TIMM["eva02_base_patch16_clip_224"], **TINY_EVA)
EVA02E = replace(TIMM["eva02_enormous_patch14_clip_224"], **TINY_EVA)
PACKED = replace(TIMM["eva02_small_patch14_336"], **TINY_EVA)
WORDS = TextConfig(5, 11, 8, 2, 2, 16, 5)
SENTENCES = replace(WORDS, classes=12, head_bias=True, causal=False, pool="last", eps=1e-6, act="gelu_tanh")
NETWORKS = [
    CLIPConfig(NATIVE, WORDS),
    CLIPConfig(NATIVE, replace(WORDS, width=5, heads=5, classes=0)),
    CLIPConfig(CLIPA, replace(WORDS, pool="eos", eos=7, layer_scale=1e-4)),
    CLIPConfig(SIGLIP, SENTENCES, sigmoid=True),
    CLIPConfig(SIGLIP, replace(WORDS, classes=12), sigmoid=True),
    CLIPConfig(GAP, WORDS),
    CLIPConfig(replace(GAP, head_bias=False), WORDS),
    *(CLIPConfig(eva, WORDS) for eva in (EVA, PACKED, replace(EVA02, head_bias=False))),
    CLIPConfig(replace(EVA02E, width=6, heads=1, classes=0), replace(WORDS, classes=6)),
    NATIVE, replace(NATIVE, classes=0), CLIPA, SIGLIP, GAP, replace(GAP, head_bias=False), EVA02,
    WORDS, SENTENCES, replace(WORDS, classes=0),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_every_network_there_and_back(dtype):
    for cfg in NETWORKS:
        like = shapes(cfg)
        wanted = slots(OPEN_CLIP.rules(cfg), like)
        rng = np.random.default_rng(0)
        theirs = {slot.theirs: np.asarray(rng.standard_normal(slot.shape)).astype(dtype) for slot in wanted}
        assert [dialect.name for dialect in DIALECTS.values() if dialect.recognise(theirs)] == ["open_clip"]
        leaves, report = to_ours(wanted, like, respelt(OPEN_CLIP, cfg, theirs))
        assert not report
        ours = {path: np.asarray(leaf) for path, leaf in leaves.items()}
        assert same(dict(to_theirs(wanted, ours)), theirs)
        for slot in wanted:
            others = respelt(OPEN_CLIP, cfg, {key: array for key, array in theirs.items() if key != slot.theirs})
            assert to_ours(wanted, like, others)[1] == Report(missing=[str(slot)])


def test_a_file_is_read_by_a_config_whole_or_a_tower(tmp_path):
    for cfg in NETWORKS:
        file = export(Spec("x", cfg), params := drawn(cfg), tmp_path / "x.safetensors", "open_clip")
        for part in ("image", "text") if isinstance(cfg, CLIPConfig) else (None,):
            found, tree = convert(file, config=cfg, part=part)
            assert found.config == (getattr(cfg, part) if part else cfg)
            wanted = params[part] if part else params
            assert all(np.array_equal(np.asarray(a), b) for a, b in zip(_leaves(tree), _leaves(wanted), strict=True))


def _leaves(tree: Any) -> list[Any]:
    return [leaf for key in sorted(tree) for leaf in _leaves(tree[key])] if isinstance(tree, dict) else [tree]


# Names


def spellings(state: Tensors) -> dict[str, Tensors]:
    """What else a file of the same network may look like."""
    bare = {key.removeprefix("text."): array for key, array in state.items()}
    custom = {key if key.startswith(("visual.", "logit_")) else f"text.{key}": array for key, array in bare.items()}
    mask = np.triu(np.full((9, 9), -np.inf, np.float32), 1)
    one = {key: array[None] if key.startswith("logit_") else array for key, array in state.items()}
    linear = {key.replace("visual.trunk.head.", "visual.head.proj."): array for key, array in state.items()}
    found = {"bare": bare, "custom": custom, "linear": linear, "one number": one, "mask": bare | {"attn_mask": mask}}
    found["mask of a custom text"] = custom | {"text.attn_mask": mask}
    return found | {"parallel": {f"module.{key}": array for key, array in state.items()}}


def test_spellings_are_one_network(published, tmp_path):  # noqa: F811
    folder, reference = published
    found, params = convert(folder)
    (tmp_path / OPEN_CLIP_CONFIG).write_text(str(reference["config"]))
    for spelling in spellings(under("state/", reference)).values():
        save_file({key: np.ascontiguousarray(array) for key, array in spelling.items()}, tmp_path / "open_clip_model.safetensors")
        again, tree = convert(tmp_path)
        assert again.config == found.config
        assert all(np.array_equal(a, b) for a, b in zip(_leaves(tree), _leaves(params), strict=True))


# fmt: off
WRONG: dict[str, tuple[Callable[[Tensors], Any], list[str]]] = {
    "missing":           (lambda t: t.pop("visual.proj"), ["missing (1):\n    visual.proj [24, 12] <-> image/head/kernel"]),
    "unexpected":        (lambda t: t.update(more=t["visual.proj"]), ["unexpected (1):\n    more [24, 12]"]),
    "mis-shaped":        (lambda t: t.update({"visual.proj": np.ones((24, 11), "f4")}), ["the file has [24, 11]"]),
    "a second bare one": (lambda t: t.update({"text.ln_final.bias": t["ln_final.bias"]}), ["    text.ln_final.bias [16]"]),
    "two scales":        (lambda t: t.update(logit_scale=np.ones(2, "f4")), ["logit_scale [] <-> logit_scale: the file has [2]"]),
    "a bias":            (lambda t: t.update(logit_bias=np.ones((), "f4")), ["unexpected (1):\n    logit_bias []"]),
    "half a tower":      (lambda t: [t.pop(key) for key in list(t) if key.startswith("transformer.resblocks.1")],
                          ["missing (12):", "transformer.resblocks.1.mlp.c_fc.weight [64, 16] <-> text/blocks/mlp/up/kernel[1]"]),
    "no tower":          (lambda t: [t.pop(key) for key in list(t) if key.startswith("visual.t")],
                          ["missing (24):", "visual.transformer.resblocks.0.mlp.c_fc.bias"]),
    "not a number":      (lambda t: t.update(logit_scale=np.array(np.nan, "f4")), ["not finite (1):\n    logit_scale"]),
}
# fmt: on


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_named(change, words, tmp_path):
    tensors = under("state/", publish("open_clip_gelu", tmp_path))
    change(tensors)
    save_file(tensors, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(Error) as error:
        vitjax.load(tmp_path)
    assert all(word in str(error.value) for word in words), error.value
    assert str(error.value).count("\n    ") == 1 or "missing (" in words[0]


def test_what_belongs_to_no_tower_is_named_in_both(tmp_path):
    tensors = under("state/", publish("open_clip_gelu", tmp_path))
    lost = {key for key in tensors if key.startswith("transformer.resblocks.1")}
    save_file(
        {key: t for key, t in tensors.items() if key not in lost} | {"more": np.ones(1, "f4")}, tmp_path / "model.safetensors"
    )
    with pytest.raises(Error, match=r"spelling\. .*:\n  unexpected \(1\):\n    more \[1\]$"):
        vitjax.load(tmp_path, tower="image")
    with pytest.raises(Error, match=r"missing \(12\)(.|\n)*unexpected \(1\)"):
        vitjax.load(tmp_path, tower="text")


OTHERS = {
    "visual.layer1.0.conv1.weight": "image tower is a ResNet (visual.layer1.0.conv1.weight)",
    "visual.attnpool.positional_embedding": "image tower is a ResNet",
    "visual.trunk.stem.0.weight": "image tower has convolutions or windows",
    "text_decoder.resblocks.0.ln_1.weight": "text tower writes texts, as CoCa does",
    "text.transformer.embeddings.word_embeddings.weight": "text tower is one of transformers'",
    "text.transformer.block.0.layer.0.layer_norm.weight": "text tower is one of transformers'",
}


@pytest.mark.parametrize("openai", [False, True])
@pytest.mark.parametrize(("key", "words"), OTHERS.items(), ids=OTHERS)
def test_other_towers_are_refused_by_name(key, words, openai, tmp_path):
    sizes = {name: np.array(1) for name in ("input_resolution", "context_length", "vocab_size")} if openai else {}
    (file := tmp_path / "RN50.pt").write_bytes(archive({key: np.ones(2, np.float32)} | sizes))
    for how in {}, {"variant": "clip_vit_base_patch32_224.openai"}, {"config": TINY}:
        with pytest.raises(Error) as error:
            vitjax.load(file, **how)
        assert f"{file} is a CLIP whose {words}" in str(error.value)


@pytest.mark.parametrize(
    ("name", "why"),
    [("RN50x4", "ResNet"), ("coca_ViT-B-32", "writes texts"), ("roberta-ViT-B-32", "RoBERTa"), ("ViTamin-L", "convolutions")],
)
def test_other_names_are_refused_with_their_reason(name, why):
    for call in vitjax.load, vitjax.create:
        with pytest.raises(Error, match=why):
            call(name)


# Settings


PUBLISHED = [name for name, row in WEIGHTS.items() if row.dialect in ("open_clip", "openai")]
UNPUBLISHED = [name for name in CLIPS if not any(known.startswith(f"{name}.") for known in PUBLISHED)]


@pytest.mark.parametrize("name", PUBLISHED + UNPUBLISHED)
def test_a_row_is_what_its_settings_say(name, tmp_path):
    row = spec(name)
    row = replace(row, preprocess=replace(row.preprocess, crop=1.0))
    settings = OPEN_CLIP.write_settings(row)[OPEN_CLIP_CONFIG]
    found = OPEN_CLIP.read_settings(Bundle(tmp_path / "x", {}, open_clip=json.loads(json.dumps(settings))))
    assert (found.config, found.preprocess, found.tokenize) == (row.config, row.preprocess, row.tokenize)
    assert found.source.reference == "open_clip 3.3.0"


def changed(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of nested settings with one value changed; `...` takes it out."""
    first, _, rest = path.partition("/")
    out = dict(data)
    if rest:
        out[first] = changed(data[first], rest, value)
    elif value is ...:
        del out[first]
    else:
        out[first] = value
    return out


VISION, TEXT = "model_cfg/vision_cfg", "model_cfg/text_cfg"
UNREADABLE = [  # where, the value, and the words of the error
    ("more", 1, "unknown key 'more'"),
    ("model_cfg/more", 1, "unknown key 'more'"),
    ("model_cfg", ..., "KeyError: 'model_cfg'"),
    ("model_cfg/embed_dim", ..., "KeyError: 'embed_dim'"),
    ("model_cfg/embed_dim", -1, "must not be negative"),
    ("model_cfg/multimodal_cfg", {}, "multimodal_cfg is not supported: CoCa"),
    (f"{VISION}/more", 1, "unknown key 'more'"),
    (f"{VISION}/heads", 3, "unknown key 'heads'"),
    (f"{VISION}/layers", [3, 4, 6, 3], "those of a ResNet"),
    (f"{VISION}/attentional_pool", True, "attentional_pool True is not supported"),
    (f"{VISION}/pos_embed_type", "sin_cos_2d", "pos_embed_type 'sin_cos_2d' is not supported: only 'learnable'"),
    (f"{VISION}/block_type", "custom", "block_type 'custom' is not supported"),
    (f"{VISION}/pool_type", "none", "unknown pool_type 'none'"),
    (f"{VISION}/patch_size", [4, 2], "ViTConfig.patch must be int"),
    (f"{VISION}/norm_kwargs", {"elementwise_affine": False}, "norm_kwargs"),
    (f"{VISION}/act_kwargs", {"approximate": "sigmoid"}, "act_kwargs"),
    (f"{VISION}/timm_model_name", "resnet50", "unknown architecture 'resnet50'"),
    (f"{VISION}/timm_model_name", "vit_relpos_medium_patch16_cls_224", "its positions are relative"),
    (f"{VISION}/timm_model_name", "clip_vit_base_patch32_224", "unknown timm_model_name 'clip_vit_base_patch32_224'"),
    (VISION, {"timm_model_name": "vit_base_patch16_siglip_256", "timm_pool": "map"}, "image_size 224 is not that of"),
    (VISION, {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "token"}, "timm_pool 'token' is not supported"),
    (VISION, {"timm_model_name": "eva_giant_patch14_224", "timm_pool": "map"}, "timm_pool 'map' is not supported for eva_giant"),
    (VISION, {"timm_model_name": "eva_giant_patch14_224", "timm_pool": "", "timm_proj": None}, "timm_pool '' is not supported"),
    (VISION, {"timm_model_name": "eva_giant_patch14_336", "timm_pool": "token"}, "image_size 224 is not that of"),
    (
        VISION,
        {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "abs_attn"},
        "timm_pool 'abs_attn' is not supported",
    ),
    (
        VISION,
        {"timm_model_name": "vit_base_patch16_224", "timm_pool": "token", "timm_proj": "mlp"},
        "timm_proj 'mlp' is not supported",
    ),
    (VISION, {"timm_model_name": "vit_base_patch16_clip_224", "timm_pool": "token"}, "open_clip's own tower under other names"),
    (f"{TEXT}/more", 1, "unknown key 'more'"),
    (f"{TEXT}/hf_model_name", "roberta-base", "hf_model_name 'roberta-base' is not supported"),
    (f"{TEXT}/embed_cls", True, "embed_cls True is not supported"),
    (f"{TEXT}/qk_norm", True, "qk_norm True is not supported"),
    (f"{TEXT}/pool_type", "first", "pool_type 'first' with proj_type 'linear' is not supported"),
    (f"{TEXT}/proj_type", "mlp", "proj_type 'mlp' is not supported"),
    (f"{TEXT}/proj_type", "none", "the image tower gives 12 numbers, the text tower 16"),
    (f"{TEXT}/heads", 5, "width 16 does not divide into 5 heads"),
    (f"{TEXT}/hf_tokenizer_name", "gpt2", "unknown hf_tokenizer_name 'gpt2'"),
    (f"{TEXT}/tokenizer_kwargs", {"clean": "canonicalize"}, "tokenizer_kwargs"),
    (f"{TEXT}/tokenizer_kwargs", {"language": "deu"}, "tokenizer_kwargs"),
    (f"{TEXT}/tokenizer_mode", "clips", "tokenizer_mode 'clips' is not supported"),
    ("preprocess_cfg/more", 1, "unknown key 'more'"),
    ("preprocess_cfg/resize_mode", "longest", "unknown resize_mode 'longest'"),
    ("preprocess_cfg/interpolation", "lanczos", "unknown interpolation 'lanczos'"),
    ("preprocess_cfg/mean", 0.5, "TypeError"),
    ("preprocess_cfg/std", [0.5], "Preprocess.std must be"),
]


@pytest.mark.parametrize(("path", "value", "words"), UNREADABLE, ids=[f"{path}={value}" for path, value, _ in UNREADABLE])
def test_settings_that_we_have_not_are_refused(path, value, words, tmp_path):
    settings = json.loads(str(publish("open_clip_gelu", tmp_path)["config"]))
    (tmp_path / OPEN_CLIP_CONFIG).write_text(json.dumps(changed(settings, path, value)))
    with pytest.raises(Error) as error:
        vitjax.load(tmp_path)
    assert str(error.value).startswith(str(tmp_path / OPEN_CLIP_CONFIG)) and words in str(error.value), error.value


# fmt: off
POOLED = [  # of a tower of timm's: what its settings say, and how it pools then, and where its norm is
    ("eva_giant_patch14_224",       "token", None,     ("token", "before")),
    ("eva_giant_patch14_224",       "token", "none",   ("token", "before")),
    ("eva_giant_patch14_224",       "token", "linear", ("token", "after")),  # its norm is there when open_clip asks
    ("eva_giant_patch14_224",       "avg",   None,     ("mean",  "after")),
    ("eva_giant_patch14_224",       None,    None,     ("mean",  "after")),
    ("eva_giant_patch14_224",       "",      "linear", ("mean",  "after")),
    ("eva02_base_patch16_clip_224", "avg",   None,     ("mean",  "after")),
    ("eva02_base_patch16_clip_224", "avg",   "linear", ("mean",  "before")),
    ("vit_base_patch16_siglip_224", "avg",   None,     ("mean",  "after")),
    ("vit_base_patch16_siglip_224", "avg",   "linear", ("mean",  "before")),
    ("vit_base_patch16_224",        "avg",   None,     ("mean",  "after")),
]
# fmt: on


@pytest.mark.parametrize(("name", "pool", "projection", "how"), POOLED)
def test_a_tower_of_timms_pools_as_it_is_asked_to(name, pool, projection, how, tmp_path):
    vision = {"timm_model_name": name, "timm_pool": pool, "timm_proj": projection}
    width = TIMM[name].width if projection == "none" else 512
    settings = {"model_cfg": {"embed_dim": width, "vision_cfg": vision, "text_cfg": {}}}
    found = OPEN_CLIP.read_settings(Bundle(tmp_path / "x", {}, open_clip=settings))
    assert (found.config.image.pool, found.config.image.norm) == how
    again = OPEN_CLIP.write_settings(found)
    assert OPEN_CLIP.read_settings(Bundle(tmp_path / "x", {}, open_clip=again[OPEN_CLIP_CONFIG])) == found


SAME = [  # settings that say what is so anyhow
    ("model_cfg/init_logit_scale", 2.0),
    ("model_cfg/nonscalar_logit_scale", True),
    (f"{VISION}/patch_dropout", 0.5),
    (f"{VISION}/block_type", "default"),
    (f"{VISION}/timm_model_name", ""),
    (f"{VISION}/output_tokens", True),
    (f"{TEXT}/pad_id", 1),
    (f"{TEXT}/final_ln_after_pool", True),
    (f"{TEXT}/hf_tokenizer_name", ""),
    ("preprocess_cfg", ...),
    ("preprocess_cfg/size", 99),
    ("preprocess_cfg/mean", None),
    ("preprocess_cfg/interpolation", "random"),
]


@pytest.mark.parametrize(("path", "value"), SAME, ids=[f"{path}={value}" for path, value in SAME])
def test_settings_that_change_nothing(path, value, tmp_path):
    settings = json.loads(str(publish("open_clip_gelu", tmp_path)["config"]))
    found, _ = convert(tmp_path)
    (tmp_path / OPEN_CLIP_CONFIG).write_text(json.dumps(changed(settings, path, value)))
    assert convert(tmp_path)[0] == found


def test_a_repository_of_eva_clip_is_called_as_its_image_tower(tmp_path, small_trunks):  # noqa: F811
    """timm/eva02_base_patch16_clip_224.merged2b_s8b_b131k, cloned."""
    (folder := tmp_path / "eva02_base_patch16_clip_224.merged2b_s8b_b131k").mkdir()
    publish("open_clip_eva02", folder)
    found, _ = convert(folder)
    rows = variants.VARIANTS, "clip_eva02_base_patch16_224", found.config
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(*rows)
        assert convert(folder, variant="EVA02-B-16")[0] == found
    with pytest.raises(Error, match=r"say eva02_base_patch16_clip_224\.merged2b_s8b_b131k, not eva02_base_patch16_clip_224"):
        convert(folder, variant="eva02_base_patch16_clip_224")


def test_an_activation_beside_settings_is_too_much(tmp_path):
    publish("open_clip_gelu", tmp_path)
    with pytest.raises(Error, match="comes with settings that say its activation: leave out --act gelu"):
        vitjax.load(tmp_path, act="gelu")


WHOLE_SPEC = Spec("mine", CLIPConfig(NATIVE, WORDS), Preprocess(8, 1.0), tokenize=Tokenize())
quick = {"act": "quick_gelu"}
UNWRITABLE = [  # a spec, and the words of the error
    (replace(WHOLE_SPEC, config=NATIVE, tokenize=None), "open_clip has whole CLIPs, and mine is a tower"),
    (replace(WHOLE_SPEC, config=CLIPConfig(replace(NATIVE, **quick), WORDS)), "quick_gelu is for both"),
    (replace(WHOLE_SPEC, config=CLIPConfig(NATIVE, replace(WORDS, **quick))), "quick_gelu is for both"),
    (replace(WHOLE_SPEC, config=CLIPConfig(NATIVE, replace(WORDS, act="silu"))), "not run with gelu and silu"),
    (replace(WHOLE_SPEC, config=CLIPConfig(replace(NATIVE, width=5, heads=5, classes=0), WORDS)), "all have a projection"),
    (replace(WHOLE_SPEC, config=CLIPConfig(GAP, WORDS)), "timm, which has no such network"),
    (replace(WHOLE_SPEC, config=CLIPConfig(EVA02, replace(WORDS, act="silu"))), "not run with silu and silu"),
    (replace(WHOLE_SPEC, preprocess=Preprocess(8, 0.9)), "cannot make such pictures"),
    (replace(WHOLE_SPEC, preprocess=Preprocess(8, 1.0, "border")), "cannot make such pictures"),
    (replace(WHOLE_SPEC, preprocess=Preprocess(9, 1.0)), "size 9 for a network of 8"),
    (replace(WHOLE_SPEC, tokenize=Tokenize("lower", 3, 4, 5)), "no tokenizer that makes such ids"),
]


@pytest.mark.parametrize(("unwritable", "words"), UNWRITABLE, ids=[words for _, words in UNWRITABLE])
def test_what_open_clip_cannot_say_is_not_written(unwritable, words, tmp_path):
    with pytest.raises(Error, match=words):
        export(unwritable, drawn(unwritable.config), tmp_path / "out", "open_clip")
    assert not (tmp_path / "out").exists()


def test_what_open_clip_cannot_be_is_not_written(tmp_path):
    for config in replace(WORDS, pool="map"), replace(WORDS, gated=True, mlp_norm=True):
        with pytest.raises(Error, match=r"text tower cannot be such a network: (pool='map'|mlp_norm=True, gated=True)"):
            export(Spec("x", config), {}, tmp_path / "x.safetensors", "open_clip")


def test_openais_network_is_one_of_all(tmp_path):
    for cfg in NETWORKS:
        spec, params = Spec("x", cfg), drawn(cfg)
        if cfg in (NATIVE, WORDS, replace(NATIVE, classes=0), replace(WORDS, classes=0), *NETWORKS[:2]):
            file = export(spec, params, tmp_path / "x.safetensors", "openai")
            assert convert(file, config=cfg, dialect="openai")[0].source.dialect == "openai"
        else:
            with pytest.raises(Error, match="OpenAI's CLIP is not such a network"):
                export(spec, params, tmp_path / "x.safetensors", "openai")


def test_padding_that_a_causal_tower_does_not_see_needs_no_tokenizer():
    """transformers fills CLIP's texts with their end."""
    filled = replace(WHOLE_SPEC, tokenize=Tokenize("huggingface", 49406, 49407, 49407))
    assert "hf_tokenizer_name" not in OPEN_CLIP.write_settings(filled)[OPEN_CLIP_CONFIG]["model_cfg"]["text_cfg"]
    both_ways = replace(filled, config=CLIPConfig(NATIVE, replace(WORDS, causal=False)))
    with pytest.raises(Error, match="no tokenizer"):
        OPEN_CLIP.write_settings(both_ways)


def test_a_width_is_written_as_a_ratio_that_gives_it_again():
    for width in (*range(1, 200), 768, 1280, 1408, 1664, 1792):
        for mlp in (*range(1, 300, 7), 4304, 6144, 8192, 15360):
            assert int(width * _ratio(width, mlp)) == mlp
