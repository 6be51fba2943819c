"""big_vision's pairs of towers: SigLIP's own numbers and names, however a file spells them, whole and a tower at a time."""

import json
import math
import random
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

import vitjax
from tests.test_google import ABSOLUTE, assert_good, saved
from tests.test_google_files import ADAM, PRE_LINEN, assert_same, renamed
from tests.test_mapping import TINY
from tests.test_parity import assert_close, read, under
from vitjax import Error, ViTConfig
from vitjax.clip_model import CLIP
from vitjax.config import CLIPConfig, Config, Spec, TextConfig, Tokenize
from vitjax.converters import convert, export, files, fitting
from vitjax.converters.google import BLOCKS, GOOGLE
from vitjax.converters.identify import respelt
from vitjax.converters.mapping import compare, slots, to_ours, to_theirs
from vitjax.model import abstract, shapes
from vitjax.variants import CLIPS, VARIANTS, parameters
from vitjax.verify import verify

FAMILIES = ("google_siglip", "google_siglip_scan", "google_siglip_bf16")  # the same numbers; the last two are stacked
State = dict[str, np.ndarray]


def pair(reference: State) -> CLIPConfig:
    """A SigLIP as its fixture says it."""
    said = json.loads(str(reference["meta"]))["config"]
    image, text = ({key: said[tower][key] for key in ("width", "depth", "heads", "mlp")} for tower in ("vision", "text"))
    run: dict[str, Any] = {"act": said["act"], "eps": said["eps"]}
    eye = {key: said["vision"][key] for key in ("image", "patch")}
    words = {key: said["text"][key] for key in ("context", "vocab")} | {"classes": said["embed"], "pool": said["text_pool"]}
    return CLIPConfig(
        ViTConfig(**eye, **image, **run, classes=0, cls=False, pool="map", interpolation="bilinear"),
        TextConfig(**words, **text, **run, causal=False, head_bias=True),
        sigmoid=True,
    )


SIGLIP = pair(read("google_siglip"))


def bare(family: str = "google_siglip") -> State:
    return under("state/params/", read(family))


def stacked(state: State) -> State:
    """The blocks of both towers, each in one."""
    kept, blocks = {}, {}
    for name, array in state.items():
        tower, _, rest = name.partition("/encoderblock_")
        number, _, leaf = rest.partition("/")
        if rest:
            blocks.setdefault(f"{tower}/encoderblock/{leaf}", {})[int(number)] = array
        else:
            kept[name] = array
    return kept | {name: np.stack([found[i] for i in range(len(found))]) for name, found in blocks.items()}


@pytest.fixture(scope="module", params=FAMILIES)
def published(request, tmp_path_factory) -> tuple[Path, State]:
    """A file as big_vision saves it, and what its code made of pictures and texts with it."""
    reference = read(request.param)
    return saved(under("state/", reference), tmp_path_factory.mktemp(request.param)), reference


@pytest.fixture
def row(monkeypatch) -> Callable[[str, Config], str]:
    """Puts a network into the table, under the name it returns."""
    return lambda name, config: monkeypatch.setitem(VARIANTS, name, config) or name


# The numbers.


def test_every_stage(published):
    file, reference = published
    model, stage = vitjax.load(file, config=SIGLIP), under("stage/", reference)
    assert_good(model, reference, set(stage) - {"image_features_norm", "text_features_norm", "t_exp", "b"})
    assert_close(model.encode_image(reference["input"], normalize=True), stage["image_features_norm"])
    assert_close(model.encode_text(reference["ids"], normalize=True), stage["text_features_norm"])
    assert_close(jnp.exp(model.params["logit_scale"])[None], stage["t_exp"])
    np.testing.assert_array_equal(model.params["logit_bias"], stage["b"][0])
    for name in "query", "key", "value":  # a key's bias shows in no output
        assert np.abs(model.params["text"]["blocks"]["attn"][name]["bias"]).min() > 0


def test_a_tower_alone_is_that_of_both(published):
    file, reference = published
    whole = vitjax.load(file, config=SIGLIP)
    image, text = (vitjax.load(file, config=SIGLIP, tower=name) for name in ("image", "text"))
    stage = under("stage/", reference)
    eye = {f"stage/{name}": array for name, array in under("image/", stage).items()}
    assert_good(image, {"input": reference["input"]} | eye, set(under("image/", stage)))
    words = under("text/", stage) | {"logits": stage["text_features"]}
    assert_good(text, {"ids": reference["ids"]} | {f"stage/{name}": array for name, array in words.items()}, set(words))
    assert_same(image, whole.image)
    assert_same(text, whole.text)
    assert (image.spec.tokenize, text.spec.tokenize) == (None, Tokenize("canonical", None, 1, 1))
    for key, config in ("img", SIGLIP.image), ("params/img", SIGLIP.image), ("txt", SIGLIP.text), (None, SIGLIP.image):
        assert_same(vitjax.load(file, config=config, key=key), image if config is SIGLIP.image else text)
    assert_same(vitjax.load(file, config=SIGLIP.text), text)
    assert image.spec.preprocess == whole.spec.preprocess == replace(GOOGLE.pictures, size=32)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("family", FAMILIES[:2])
def test_nothing_of_the_other_tower_is_read(family, save, tmp_path):
    file = tmp_path / "x.npz"
    save(file, **under("state/", read(family)))
    good = {name: vitjax.load(file, config=SIGLIP, tower=name) for name in ("image", "text")}
    data = file.read_bytes()
    for name, other in ("image", "txt"), ("text", "img"):
        damaged = bytearray(data)
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if f"/{other}/" in member.filename:
                    damaged[member.header_offset + 30 + len(member.filename) + 20 + member.compress_size - 1] ^= 1
        (tmp_path / f"{name}.npz").write_bytes(damaged)
        assert_same(vitjax.load(tmp_path / f"{name}.npz", config=SIGLIP, tower=name), good[name])
        with pytest.raises(Error, match=f"params/{other}/.* is damaged"):
            vitjax.load(tmp_path / f"{name}.npz", config=SIGLIP)


# fmt: off
MISTAKES = {  # what is wrong with the text tower, and the stage that shows it first
    "eps":          ("text/block_00/attn", {"eps": 1e-5}),
    "erf for tanh": ("text/block_00/mlp",  {"act": "gelu"}),
    "causal":       ("text/block_00/attn", {"causal": True}),
    "pooled where CLIP pools": ("text/pooled", {"pool": "argmax"}),
}
# fmt: on


@pytest.mark.parametrize(("first", "changes"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_noticed_where_it_is_made(first, changes, tmp_path):
    reference = read("google_siglip")
    model = vitjax.load(saved(under("state/", reference), tmp_path), config=SIGLIP)
    wrong = replace(SIGLIP, text=replace(SIGLIP.text, **changes))
    found = verify(CLIP(replace(model.spec, config=wrong), model.params), reference)
    assert next(stage.name for stage in found if stage.difference > ABSOLUTE) == first


# One network, however it is spelt.

SPELLINGS: dict[str, Callable[[State], State]] = {
    "as today": lambda state: state,
    "params/": lambda state: {f"params/{name}": array for name, array in state.items()},
    "opt/target/": lambda state: {f"opt/target/{name}": array for name, array in state.items()},
    "beside an optimizer": lambda state: {f"params/{name}": array for name, array in state.items()} | ADAM,
    "stacked": stacked,
    "pictures stacked": lambda state: stacked(under_tower("img/", state)) | under_tower("txt/", state),
    "pre-Linen counters": lambda state: renamed(state, *PRE_LINEN),
    "stacked, pre-Linen": lambda state: stacked(renamed(state, *PRE_LINEN)),
    "probe at the top": lambda state: renamed(state, ("img/MAPHead_0/", "img/")),
    "positions in the encoder": lambda state: renamed(state, ("img/pos_emb", "img/Transformer/posembed_input/pos_emb")),
    "Fortran's order": lambda state: {name: np.asfortranarray(array) for name, array in state.items()},
}


def under_tower(tower: str, state: State) -> State:
    """A tower's tensors, and with the pictures' the two numbers."""
    return {name: array for name, array in state.items() if name.startswith(tower) or (tower == "img/" and len(name) == 1)}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_one_network_however_it_is_spelt(spell, tmp_path):
    plain = vitjax.load(saved(bare(), tmp_path), config=SIGLIP)
    for save in np.savez, np.savez_compressed:
        save(tmp_path / "other.npz", **spell(bare()))
        assert_same(vitjax.load(tmp_path / "other.npz", config=SIGLIP), plain)
        for name in "image", "text":
            assert_same(vitjax.load(tmp_path / "other.npz", config=SIGLIP, tower=name), getattr(plain, name))
    once = respelt(GOOGLE, SIGLIP, files.read(tmp_path / "other.npz").tensors)
    assert set(respelt(GOOGLE, SIGLIP, once)) == set(once) == {slot.theirs for slot in GOOGLE.slots(SIGLIP)}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("spell", [lambda state: state, stacked], ids=["unrolled", "stacked"])
def test_positions_that_were_added_twice_are_added_up(spell, dtype, tmp_path):
    """`load` of big_vision's text_transformer.py does so; a second pos_embedding is there in old files only."""
    state = {name: array.astype(dtype) for name, array in bare().items()}
    first, second = state["txt/pos_embedding"], (state["txt/pos_embedding"] * dtype(0.7))[:, ::-1]
    file = tmp_path / "x.npz"
    raw = spell(state | {"txt/Encoder_0/pos_embedding": second})
    np.savez(file, **{name: array.view("V2") if dtype is ml_dtypes.bfloat16 else array for name, array in raw.items()})
    for name in None, "text":
        model = vitjax.load(file, config=SIGLIP, tower=name)
        text = model.params if name else model.params["text"]
        np.testing.assert_array_equal(text["positions"], (first + second)[0].astype(np.float32))
    vitjax.load(file, config=SIGLIP, tower="image")


# There and back.

EYE = replace(TINY, image=8, act="gelu_tanh", interpolation="bilinear")
WORDS = TextConfig(6, 11, 10, 2, 2, 14, 12, causal=False, pool="last", head_bias=True, act="gelu_tanh", eps=1e-6)
PAIRS = {
    "siglip": CLIPConfig(replace(EYE, classes=0, cls=False, pool="map"), WORDS, sigmoid=True),
    "softmax": CLIPConfig(replace(EYE, classes=0, cls=False, pool="map"), WORDS),
    "lit": CLIPConfig(replace(EYE, classes=7), replace(WORDS, classes=7)),  # a picture's head that projects
    "lit of big_vision": CLIPConfig(replace(EYE, positions="patches", representation=5, classes=7), replace(WORDS, classes=7)),
    "a mean": CLIPConfig(replace(EYE, classes=10, cls=False, pool="mean"), replace(WORDS, classes=0), sigmoid=True),
    "two probes": CLIPConfig(replace(EYE, classes=0, cls=False, pool="map"), replace(WORDS, pool="map"), sigmoid=True),
}


def random_params(config: Config, rng: np.random.Generator) -> Any:
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32) / 4, abstract(config))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", PAIRS)
def test_there_and_back_is_the_identity(name, dtype):
    config, rng = PAIRS[name], np.random.default_rng(0)
    for part in config, config.text:
        like, wanted = shapes(part), slots(GOOGLE.rules(part), shapes(part))
        theirs = {slot.theirs: rng.standard_normal(slot.shape).astype(dtype) for slot in wanted}
        leaves, report = to_ours(wanted, like, respelt(GOOGLE, part, theirs))
        assert not report and len(theirs) == len(wanted)
        for key, back in to_theirs(wanted, {path: np.asarray(leaf) for path, leaf in leaves.items()}):
            assert (back.shape, back.dtype, back.tobytes()) == (theirs[key].shape, theirs[key].dtype, theirs[key].tobytes()), key
        for slot in wanted:
            left = respelt(GOOGLE, part, {key: array for key, array in theirs.items() if key != slot.theirs})
            assert compare(wanted, left).missing == [str(slot)] and not compare(wanted, left).unexpected, slot


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
@pytest.mark.parametrize("family", FAMILIES)
def test_exported_is_what_was_published(family, kind, tmp_path):
    file = saved(under("state/", read(family)), tmp_path)
    model = vitjax.load(file, config=SIGLIP, dtype="bfloat16" if "bf16" in family else "float32")
    if "bf16" in family:
        spec, lazy = convert(file, config=SIGLIP, dtype="keep")
        model = CLIP(spec, jax.tree.map(np.asarray, lazy), "bfloat16")
    out = export(model.spec, model.params, tmp_path / f"out.{kind}", "google")
    back = dict(np.load(out) if kind == "npz" else load_file(out))
    back = stacked(back) if family != "google_siglip" else back
    state = bare(family)
    assert {key: (x.shape, x.tobytes()) for key, x in back.items()} == {key: (x.shape, x.tobytes()) for key, x in state.items()}
    assert {x.dtype.str for x in back.values()} == {x.dtype.str for x in state.values()} or kind == "safetensors"
    again, same = convert(out, config=SIGLIP, dtype="keep")
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, same), dict(model.params))
    assert again.config == model.spec.config
    text = export(vitjax.load(file, config=SIGLIP, tower="text").spec, model.params["text"], tmp_path / f"text.{kind}", "google")
    assert_same(vitjax.load(text, config=SIGLIP.text), vitjax.load(file, config=SIGLIP, tower="text"))


def draw(seed: int) -> CLIPConfig:
    """Any pair that big_vision can have."""
    rng = random.Random(seed)
    patch, heads, kind = rng.choice([2, 3, 4]), rng.randint(1, 3), rng.choice(["token", "tok", "mean", "map"])
    width = heads * rng.choice([4, 6])
    space = rng.choice([0, width, width + 3])  # 0: the picture's tower has no head
    image = ViTConfig(
        (rng.randint(2, 4) * patch, rng.randint(2, 4) * patch), patch, width, rng.randint(1, 3), heads, rng.randint(5, 20), space,
        cls=kind in ("token", "tok"), positions="patches" if kind == "tok" else "all", act="gelu_tanh", interpolation="bilinear",
        pool={"mean": "mean", "map": "map"}.get(kind, "token"),
    )  # fmt: skip
    heads, depth = rng.randint(1, 3), rng.randint(1, 3)
    words = {"causal": False, "head_bias": True, "act": "gelu_tanh", "eps": 1e-6, "pool": rng.choice(["last", "map"])}
    text = TextConfig(rng.randint(1, 7), rng.randint(3, 20), heads * 6, depth, heads, 13, space or width, **words)
    return CLIPConfig(image, text, sigmoid=rng.random() < 0.5)


@pytest.mark.parametrize("seed", range(10))
def test_any_pair_in_either_layout(seed, tmp_path):
    config, rng = draw(seed), np.random.default_rng(seed)
    model = CLIP(Spec("x", config), random_params(config, rng))
    state = dict(np.load(export(model.spec, model.params, tmp_path / "x.npz", "google")))
    np.savez(tmp_path / "stacked.npz", **{f"params/{name}": array for name, array in stacked(state).items()})
    height, width = config.image.grid
    x = rng.standard_normal((2, height * config.image.patch, width * config.image.patch, 3)).astype(np.float32)
    ids = rng.integers(0, config.text.vocab, (3, config.text.context)).astype(np.int32)
    wanted = model(x, ids)[0]
    assert np.isfinite(wanted).all() and np.ptp(wanted) > 0
    for file in tmp_path / "x.npz", tmp_path / "stacked.npz":
        found = vitjax.load(file, config=config)
        assert_same(found, model)
        np.testing.assert_array_equal(found(x, ids)[0], wanted)
        np.testing.assert_array_equal(vitjax.load(file, config=config, tower="text")(ids), model.encode_text(ids))
        np.testing.assert_array_equal(vitjax.load(file, config=config.image)(x), model.encode_image(x))


# What only a row does.


def test_a_row_is_read_as_google_runs_it(published, row):
    file, _ = published
    as_open_clip = CLIPConfig(
        replace(SIGLIP.image, act="gelu", interpolation="cubic"), replace(SIGLIP.text, act="gelu", eps=1e-5), sigmoid=True
    )
    name = row("siglip_vit_tiny_patch8_32", as_open_clip)
    spec, _ = convert(file, variant=name)
    assert spec.config == SIGLIP and spec.source.dialect == "google" and "big_vision" in spec.source.reference
    for part, config in ("image", SIGLIP.image), ("text", SIGLIP.text):
        assert convert(file, variant=name, part=part)[0].config == config
    with pytest.raises(Error, match=r"unexpected \(1\):\n    b \[1\]$"):
        convert(file, variant=row("siglip_vit_tiny_patch8_32", replace(as_open_clip, sigmoid=False)))


def test_a_row_of_pictures_takes_their_tower(published, row, monkeypatch):
    file, _ = published
    tower = vitjax.load(file, config=SIGLIP, tower="image")
    row("vit_base_patch16_siglip_224", replace(SIGLIP.image, act="gelu", interpolation="cubic"))
    for name in "vit_base_patch16_siglip_224.webli", "vit_base_patch16_siglip_224":
        for key in None, "img", "params/img":
            assert_same(vitjax.load(file, variant=name, key=key, image=32), tower)
            assert convert(file, variant=name, key=key)[0].config == SIGLIP.image
    plain = row("vit_small_row", ViTConfig(32, 8, 32, 2, 4, 80, classes=0))  # which does not say how it pools
    assert convert(file, variant=plain)[0].config == SIGLIP.image


@pytest.mark.parametrize("name", [name for name in CLIPS if name.startswith("siglip")])
def test_every_row_of_siglip_is_a_network_of_google(name):
    config = GOOGLE.reading(CLIPS[name], {})
    assert sum(math.prod(slot.shape) for slot in GOOGLE.slots(config)) == parameters(config)
    for tower in config.image, config.text:
        assert (tower.act, tower.eps) == ("gelu_tanh", 1e-6)
    assert config.image.interpolation == "bilinear"


def test_the_rows_that_fit_are_named(tmp_path):
    config = GOOGLE.reading(CLIPS["siglip_vit_base_patch16_256"], {})
    state = {slot.theirs: np.broadcast_to(np.float32(0), slot.shape) for slot in GOOGLE.slots(config)}
    found = fitting(files.Bundle(Path("x.npz"), state), GOOGLE)
    assert found == ["vit_base_patch16_siglip_256", "siglip_vit_base_patch16_256"]
    with pytest.raises(Error, match="does not say its architecture"):
        convert(saved(bare(), tmp_path))


# What is not as it should be.

BAD_TOWERS = {
    "causal": {"causal": True},
    "pooled where CLIP pools": {"pool": "argmax"},
    "pooled at an id": {"pool": "eos", "eos": 1},
    "head without bias": {"head_bias": False},
    "another activation of the map": {"pool": "map", "pool_act": "gelu"},
    "another eps of the map": {"pool": "map", "pool_eps": 1e-5},
    **{key: {key: value} for key, value in (BLOCKS | {"qkv_bias": "qv", "layer_scale": 0.1}).items() if value},
    **{f"no {key}": {key: not value} for key, value in BLOCKS.items() if isinstance(value, bool)},
}
del BAD_TOWERS["bias"]


@pytest.mark.parametrize("changes", BAD_TOWERS.values(), ids=BAD_TOWERS)
def test_a_tower_that_google_has_not_is_refused_by_its_switch(changes):
    switch = list(changes)[-1]
    pattern = rf"Google's text towers cannot be such a network: {'pool' if switch == 'eos' else switch}="
    for config in replace(WORDS, **changes), replace(PAIRS["siglip"], text=replace(WORDS, **changes)):
        with pytest.raises(Error, match=pattern):
            GOOGLE.rules(config)


def changed(family: str = "google_siglip", **changes: Any) -> State:
    """A published file with arrays added, or, where None, taken away."""
    state = bare(family) | {name.replace("__", "/"): array for name, array in changes.items()}
    return {name: array for name, array in state.items() if array is not None}


def without(start: str) -> State:
    return {name: array for name, array in bare().items() if not name.startswith(start)}


def shallow() -> State:
    state, name = bare("google_siglip_scan"), "txt/Encoder_0/encoderblock/LayerNorm_1/scale"
    return state | {name: state[name][:1]}


def half_stacked() -> State:
    return bare("google_siglip_scan") | {"txt/Encoder_0/encoderblock_0/LayerNorm_0/bias": ONES}


ONES, BLOCK = np.ones(3, np.float32), "txt/Encoder_0/encoderblock"
# fmt: off
BAD: dict[str, tuple[Callable[[], State], str]] = {
    "two temperatures":
        (lambda: changed(t=ONES), r"misshaped \(1\):\n    t \[1\] <-> logit_scale: the file has \[3\]$"),
    "a temperature by itself":
        (lambda: changed(t=ONES[0]), r"misshaped \(1\):\n    t \[1\] <-> logit_scale: the file has \[\]$"),
    "no temperature":
        (lambda: changed(t=None), r"missing \(1\):\n    t \[1\] <-> logit_scale$"),
    "no bias":
        (lambda: changed(b=None), r"missing \(1\):\n    b \[1\] <-> logit_bias$"),
    "a whole temperature":
        (lambda: changed(t=np.ones(1, np.int32)), r"not floating \(1\):\n    t \[1\] <-> logit_scale: the file has int32$"),
    "an endless temperature":
        (lambda: changed(t=np.full(1, np.inf, np.float32)), r"not finite \(1\):\n    t \[1\] <-> logit_scale$"),
    "texts without head":
        (lambda: without("txt/head"),
         r"missing \(2\):\n    txt/head/kernel \[24, 32\] <-> text/head/kernel\n    txt/head/bias \[32\] <-> text/head/bias$"),
    "pictures with a head":
        (lambda: changed(img__head__bias=ONES), r"unexpected \(1\):\n    img/head/bias \[3\]$"),
    "no texts":
        (lambda: without("txt/"), r"missing \(38\):\n    txt/Embed_0/embedding \[64, 24\] <-> text/embedding\n"),
    "no pictures":
        (lambda: without("img/"), r"missing \(52\):\n    img/embedding/kernel \[8, 8, 3, 32\] <-> image/patch/kernel\n"),
    "half of the pictures":
        (lambda: without("img/Transformer"), r"missing \(34\):\n    img/Transformer/encoderblock_0/LayerNorm_0/scale "),
    "half of the texts":
        (lambda: without(f"{BLOCK}_1"),
         rf"missing \(16\):\n    {BLOCK}_1/LayerNorm_0/scale \[24\] <-> text/blocks/norm1/scale\[1\]\n"),
    "what texts are recognised by":
        (lambda: changed(txt__Embed_0__embedding=None),
         r"missing \(1\):\n    txt/Embed_0/embedding \[64, 24\] <-> text/embedding$"),
    "a gap in depth":
        (lambda: renamed(bare(), (f"{BLOCK}_1", f"{BLOCK}_3")),
         rf"missing \(16\):\n    {BLOCK}_1/(?s:.*)unexpected \(16\):\n    {BLOCK}_3/"),
    "two depths":
        (shallow,
         rf"missing \(2\):\n    {BLOCK}_0/LayerNorm_1/scale(?s:.*)unexpected \(1\):\n    {BLOCK}/LayerNorm_1/scale \[1, 24\]$"),
    "half stacked":
        (half_stacked, rf"mixes two spellings of one network, {BLOCK}/.* and {BLOCK}_0/LayerNorm_0/bias"),
    "two counters":
        (lambda: renamed(bare(), (f"{BLOCK}_1/MlpBlock_0", f"{BLOCK}_1/MlpBlock_3")),
         rf"mixes two spellings of one network, {BLOCK}_1/MlpBlock_3/.* and {BLOCK}_0/MultiHead"),
    "a tensor of neither":
        (lambda: changed(decoder__bias=ONES), r"x\.npz holds towers, img/ or txt/ or both, and decoder/bias, .*--key img"),
    "one prefixed":
        (lambda: renamed(bare(), ("img/", "params/img/")), r"x\.npz: 40 of 92 names do not begin with 'params/', such as txt/"),
    "a probe for the last":
        (lambda: changed(txt__MAPHead_0__probe=ONES), r"unexpected \(1\):\n    txt/MAPHead_0/probe \[3\]$"),
    "other second positions":
        (lambda: changed(txt__Encoder_0__pos_embedding=ONES), r"unexpected \(1\):\n    txt/Encoder_0/pos_embedding \[3\]$"),
    "another vocabulary":
        (lambda: changed(txt__Embed_0__embedding=np.ones((65, 24), np.float32)),
         r"misshaped \(1\):\n    txt/Embed_0/embedding \[64, 24\] <-> text/embedding: the file has \[65, 24\]$"),
    "another context":
        (lambda: changed(txt__pos_embedding=np.ones((1, 9, 24), np.float32)),
         r"misshaped \(1\):\n    txt/pos_embedding \[1, 8, 24\] <-> text/positions: the file has \[1, 9, 24\]$"),
    "BERT":  # LiT's, of big_vision's models/proj/flaxformer
        (lambda: without("txt/") | {"txt/BertEncoder_0/embedder/kernel": ONES},
         r"missing \(38\):\n    txt/(?s:.*)unexpected \(1\):\n    txt/BertEncoder_0/embedder/kernel \[3\]$"),
    "one tower, bare":
        (lambda: under("img/", bare()), r"missing \(92\):\n    img/(?s:.*)unexpected \(52\):\n    embedding/"),
}
# fmt: on


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_by_name(make, message, tmp_path):
    with pytest.raises(Error, match=message) as error:
        vitjax.load(saved(make(), tmp_path), config=SIGLIP)
    assert "x.npz" in str(error.value)


def test_a_tower_that_is_wanted_alone_needs_nothing_of_the_other(tmp_path):
    for start, left in ("img/", "text"), ("txt/", "image"):
        file = saved({name: array for name, array in without(start).items() if name not in ("t", "b")}, tmp_path)
        convert(file, config=SIGLIP, part=left)
    with pytest.raises(Error, match=r"missing \(38\):\n    Embed_0/embedding \[64, 24\] <-> embedding\n"):
        convert(file, config=SIGLIP, part="text")
    with pytest.raises(Error, match=r"missing \(2\):\n    head/kernel \[24, 32\] <-> head/kernel\n"):
        convert(saved(without("txt/head"), tmp_path), config=SIGLIP, part="text")
    convert(saved(without("txt/head"), tmp_path), config=replace(SIGLIP.text, classes=0))


def test_a_softmax_has_no_bias(tmp_path):
    softmax = replace(SIGLIP, sigmoid=False)
    model = vitjax.load(saved(changed(b=None), tmp_path), config=softmax)
    reference = read("google_siglip")
    logits = reference["stage/logits_per_image"] - reference["stage/b"]
    assert "logit_bias" not in model.params
    np.testing.assert_allclose(model(reference["input"], reference["ids"])[0], logits, atol=ABSOLUTE)
    with pytest.raises(Error, match=r"unexpected \(1\):\n    b \[1\]$"):
        convert(saved(bare(), tmp_path), config=softmax)
