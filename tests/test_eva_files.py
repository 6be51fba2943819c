"""BAAI's files: copies of the table of rotary positions, what training leaves, and whose file it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

import vitjax
from tests.test_eva import FAMILIES, ROTARY, State, assert_equal, given, load, numbers, same_bits, vision, written
from tests.test_google_files import assert_same
from tests.test_parity import assert_close
from tests.torch_files import dict_, list_, number, pickled, saved, storage, tensor
from vitjax import Error, variants
from vitjax.config import CLIPConfig, Config, ViTConfig
from vitjax.converters import convert, export, files, fitting, recognise
from vitjax.converters.eva import EVA
from vitjax.layers import places


def as_trained(state: State, key: str = "module", **others: State) -> bytes:
    """What DeepSpeed's `save_checkpoint` leaves: weights under `module`, and beside them all that training wants again."""
    kinds = {"float32": "torch.FloatStorage", "float16": "torch.HalfStorage", "bfloat16": "torch.BFloat16Storage"}
    records: list[bytes] = []

    def body(tensors: State) -> bytes:
        items = []
        for name, array in tensors.items():
            records.append(array.tobytes())
            of = storage(str(len(records) - 1), kinds[array.dtype.name], array.size)
            items.append((name, tensor(of, array.shape)))
        return dict_(*items)

    sets = [(name, body(tensors)) for name, tensors in {key: state, **others}.items()]
    flat = tensor(storage(str(len(records)), kinds["float32"], 1), (1,))  # DeepSpeed's own copy of all weights
    records.append(bytes(4))
    scaler = dict_(("cur_scale", number(65536)), ("fp32_groups_flat", list_(flat)))
    training = [
        ("buffer_names", list_()), ("optimizer", scaler), ("lr_scheduler", b"N"), ("global_steps", number(300)),
        ("ds_config", dict_(("train_batch_size", number(4096)), ("fp16", dict_(("enabled", b"\x88"))))), ("epoch", number(29)),
    ]  # fmt: skip
    return saved(pickled(dict_(*sets, *training)), *records)


@pytest.fixture
def row(monkeypatch) -> Callable[[str, Config], str]:
    """Puts a network into the tables, under the name it returns."""

    def put(name: str, config: Config) -> str:
        monkeypatch.setitem(variants.VARIANTS, name, config)
        monkeypatch.setitem(EVA.rows, name, config)
        return name

    return put


# Copies of the table of rotary positions.


def rotated(family: str, folder: Path) -> tuple[State, Any, list[str]]:
    state, _, config, _ = given(family, folder)
    copies = [name for name in state if "rope" in name]
    assert len(copies) == 2 * 3  # at the top, and in both blocks
    return state, config, copies


def table(config: ViTConfig) -> dict[str, np.ndarray]:
    sin, cos = places(config)[:, config.prefix :]
    return {"freqs_sin": sin, "freqs_cos": cos}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("family", ROTARY)
def test_a_copy_that_differs_is_named(family, dtype, tmp_path):
    state, config, copies = rotated(family, tmp_path)
    state = {key: array.astype(dtype) for key, array in state.items()}
    for name in copies:
        for value in (state[name][3, 1] + dtype(0.125), dtype(np.nan)):
            broken = state[name].copy()
            broken[3, 1] = value
            with pytest.raises(Error) as error:
                convert(written(state | {name: broken}, tmp_path), config=config)
            assert f"x.safetensors: {name} and " in str(error.value) and "differ by up to" in str(error.value)
    everywhere = {name: state[name] + dtype(0.125) for name in copies}
    with pytest.raises(Error, match=r"rope.freqs_cos is up to 0.1[23] off from .* and so are its copies"):
        convert(written(state | everywhere, tmp_path), config=config)


@pytest.mark.parametrize("family", ROTARY)
def test_copies_are_no_parameters_and_may_be_left_out(family, tmp_path):
    """Savers of safetensors keep one of several tensors that share memory."""
    state, config, copies = rotated(family, tmp_path)
    good = numbers(written(state, tmp_path), config)
    for left in copies, copies[1:], copies[:-1]:
        less = written({key: array for key, array in state.items() if key not in left}, tmp_path, "less")
        assert_equal(numbers(less, config), good)


@pytest.mark.parametrize("family", ROTARY)
def test_copies_that_differ_in_their_last_bit_are_no_copies(family, tmp_path):
    state, config, copies = rotated(family, tmp_path)
    nudged = state | {copies[2]: np.nextafter(state[copies[2]], np.float32(2))}
    with pytest.raises(Error, match=r"rope.freqs_cos and .*rope.freqs_cos are copies of one table"):
        load(written(nudged, tmp_path), config)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("family", ROTARY)
def test_a_table_of_another_grid_is_refused_whatever_its_dtype(family, dtype, tmp_path):
    """The table of a network that was pre-trained on another number of patches, which no shape tells."""
    state, config, copies = rotated(family, tmp_path)
    for grid in 14, 15, 17, 64:
        other = replace(vision(config), rotary_grid=grid)
        theirs = {name: table(other)[name.rpartition(".")[2]] for name in copies}
        file = written({key: array.astype(dtype) for key, array in (state | theirs).items()}, tmp_path, f"of{grid}")
        with pytest.raises(Error, match=r"rope.freqs_cos is up to .* off .* rotary_grid=16, .*pt_hw_seq_len"):
            convert(file, config=config)
        convert(file, config=replace(config, image=other) if isinstance(config, CLIPConfig) else other)


def test_a_table_of_a_network_that_turns_nothing(tmp_path):
    state, config, copies = rotated("eva_02_base", tmp_path)
    with pytest.raises(Error, match=r"unexpected \(2\):\n    rope.freqs_cos \[16, 20\]\n    rope.freqs_sin \[16, 20\]$"):
        load(written(state, tmp_path), replace(config, rotary=False, rotary_grid=None))
    with pytest.raises(Error, match=r"unexpected \(2\):\n    rope.freqs_cos \[16, 20\]"):  # of another number of patches
        load(written(state, tmp_path), replace(config, image=40))
    whole = state | {copies[3]: np.zeros(state[copies[3]].shape, np.int32)}
    with pytest.raises(Error, match=rf"{copies[3]} and .* differ"):
        load(written(whole, tmp_path), config)


# What training leaves.


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("family", ["eva_02_base", "eva_clip_02"])
def test_deepspeeds_checkpoints(family, dtype, tmp_path):
    state, _, config, _ = given(family, tmp_path)
    state = {key: array.astype(dtype) for key, array in state.items()}
    plain = numbers(written(state, tmp_path), config)
    for key in "module", "model", "state_dict":
        (tmp_path / "x.pt").write_bytes(as_trained(state, key))
        spec, params = convert(tmp_path / "x.pt", config=config, dtype="keep")
        same_bits(state, load_file(export(spec, params, tmp_path / "out.safetensors", "eva")))
        assert_equal(numbers(tmp_path / "x.pt", config), plain)
    bundle = files.read(tmp_path / "x.pt")
    assert set(bundle.tensors) == set(state) and bundle.meta["global_steps"] == 300
    average = {key: array if "rope" in key else np.asarray(array * dtype(0.5)) for key, array in state.items()}
    (tmp_path / "two.pt").write_bytes(as_trained(state, model_ema=average))
    with pytest.raises(Error, match=r"choose one with --key NAME .*\n  module .*\n  model_ema"):
        vitjax.load(tmp_path / "two.pt", config=config)
    assert_equal(numbers(tmp_path / "two.pt", config, key="module"), plain)
    halved = numbers(tmp_path / "two.pt", config, key="model_ema")
    assert_equal(halved, numbers(written(average, tmp_path), config))
    prefixed = {f"module.{key}": array for key, array in state.items()}
    assert_equal(numbers(written(prefixed, tmp_path), config), plain)


def masked(state: State, width: int) -> State:
    """What masked image modelling leaves (modeling_pretrain.py): a norm of all tokens, and a head that guesses features."""
    kept = {key.replace("fc_norm.", "norm."): array for key, array in state.items() if not key.startswith("head.")}
    rng = np.random.default_rng(0)
    head = {"lm_head.weight": rng.standard_normal((30, width), np.float32), "lm_head.bias": np.ones(30, np.float32)}
    return kept | {"mask_token": np.ones((1, 1, width), np.float32)} | head


@pytest.mark.parametrize("family", ["eva_01", "eva_02_small", "eva_02_base"])
def test_masked_image_modelling(family, tmp_path, row):
    state, reference, config, _ = given(family, tmp_path)
    file = written(masked(state, config.width), tmp_path)
    bare = replace(config, classes=0)
    model = vitjax.load(file, config=bare)  # recognised
    assert model.spec.source.dialect == "eva"
    assert_close(model(reference["input"]), reference["stage/pooled"])
    name = row("eva_small_row", replace(config, interpolation="cubic"))
    assert fitting(files.read(file), EVA) == [name]
    with pytest.raises(Error, match=r"its tensors fit eva_small_row; .*--classes N or --drop head"):
        convert(file, variant=name)
    for how in {"classes": 0}, {"drop": ("head",)}:
        spec, params = convert(file, variant=name, **how)
        assert spec.config == bare
        exported = load_file(export(spec, params, tmp_path / "out.safetensors", "eva"))
        assert set(exported) == {key for key in state if not key.startswith("head.")}
    # its own norm, of all tokens, where the network is said to have it
    own = replace(bare, pool="token", norm="before")
    np.testing.assert_array_equal(numbers(file, own, dialect="eva")["norm"]["scale"], state["fc_norm.weight"])
    both = masked(state, config.width) | {"fc_norm.weight": state["fc_norm.weight"]}
    with pytest.raises(Error, match=r"unexpected \(1\):\n    norm.weight"):
        load(written(both, tmp_path, "both"), bare)


BIASES = (
    "blocks.0.attn.relative_position_bias_table", "rel_pos_bias.relative_position_index",
    "blocks.1.attn.rel_pos_bias.relative_position_bias_for_high",
)  # fmt: skip


@pytest.mark.parametrize("name", BIASES)
def test_relative_position_biases_are_refused_by_name(name, tmp_path):
    state, _, config, _ = given("eva_02_base", tmp_path)
    with pytest.raises(Error, match=rf"x.safetensors holds relative position biases \({name}\)"):
        vitjax.load(written(state | {name: np.zeros((9, 2), np.float32)}, tmp_path), config=config)


# Whose file it is, and of what.


@pytest.mark.parametrize("family", FAMILIES)
def test_recognised(family, tmp_path):
    _, _, config, file = given(family, tmp_path)
    bare = isinstance(config, ViTConfig) and not config.gated  # EVA-01, whose names and tensors are timm's
    assert recognise(files.read(file)).name == ("timm" if bare else "eva")
    state = {name: array for name, array in files.read(file).tensors.items() if "rope" not in name}
    for key in state:  # whatever one tensor is lost
        assert EVA.recognise({name: array for name, array in state.items() if name != key}) != bare


OTHERS = {
    "DINOv2": ("blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.bias", "blocks.0.mlp.w12.weight", "mask_token"),
    "DINOv3": ("blocks.0.attn.qkv.weight", "blocks.0.mlp.w1.weight", "storage_tokens", "rope_embed.periods"),
    "timm's EVA-02": ("blocks.0.attn.q_proj.weight", "blocks.0.attn.q_proj.bias", "blocks.0.mlp.fc1_g.weight"),
    "timm's EVA-01": ("blocks.0.attn.q_bias", "blocks.0.attn.v_bias", "blocks.0.mlp.fc1.weight"),
    "a language model that sees": ("visual.patch_embed.proj.weight", "visual.blocks.0.attn.qkv.weight"),
    "OpenAI's CLIP": ("visual.conv1.weight", "visual.class_embedding", "text_projection", "logit_scale"),
    "open_clip's EVA": ("visual.trunk.cls_token", "visual.trunk.blocks.0.attn.q_bias", "text.token_embedding.weight"),
}


@pytest.mark.parametrize("tensors", OTHERS.values(), ids=OTHERS)
def test_not_recognised(tensors):
    assert not EVA.recognise({name: np.zeros(1, np.float32) for name in tensors})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_is_read_as_baai_runs_it(family, tmp_path, row):
    _, _, config, file = given(family, tmp_path)
    plain = replace(vision(config), interpolation="cubic")
    timms = replace(plain, qkv_bias=True) if not plain.rotary else plain  # timm's EVA-L, whose keys have a bias of zeros
    for start in plain, timms:
        start = replace(config, image=start) if isinstance(config, CLIPConfig) else start
        name = row("eva_small_row", start)
        assert name in fitting(files.read(file), EVA)
        spec, _ = convert(file, variant=name, dialect="eva")
        assert spec.config == config and spec.source.reference == EVA.reference == "baaivision/EVA 5623d08"
        assert vitjax.load(file, variant=name, dialect="eva").spec.config == config
    if isinstance(config, CLIPConfig):
        with pytest.raises(Error, match="unknown reference 'timm'"):
            convert(file, variant=name, dialect="eva", reference="timm")
    else:
        as_timm, _ = convert(file, variant=name, dialect="eva", reference="timm")
        assert as_timm.config == plain


def test_every_row_is_spelt_as_baai_runs_it():
    clips = [name for name in EVA.rows if name.startswith("clip_")]
    assert set(EVA.rows) == {name for name in variants.VARIANTS if "eva" in name} and len(clips) == 7
    for row in EVA.rows.values():
        config = EVA.reading(row, {})
        sizes = [np.prod(slot.shape, dtype=np.int64) for slot in EVA.slots(config)]
        assert sum(sizes) == variants.parameters(config)
        assert vision(config).interpolation == "cubic-pytorch" and vision(config).qkv_bias == "qv"


def test_a_wrong_variant_is_told_which_is_right(tmp_path, row):
    _, _, config, file = given("eva_02_base", tmp_path)
    right = row("eva02_right", config)
    wrong = row("eva02_wrong", replace(config, image=64))
    with pytest.raises(Error) as error:
        vitjax.load(file, variant=wrong)
    assert f"is not {wrong} in eva's spelling (its tensors fit {right};" in str(error.value)
    assert "pos_embed [1, 65, 40] <-> positions: the file has [1, 17, 40]" in str(error.value)
    with pytest.raises(Error, match=f"pass --variant NAME .*; it has the tensors of {right}$"):
        vitjax.load(file)
    grid = row("eva02_grid", replace(config, rotary_grid=14))
    with pytest.raises(Error, match="rotary_grid"):
        vitjax.load(file, variant=grid)


def test_another_size_is_resized_as_baai_does(tmp_path):
    """interpolate(mode="bicubic") of run_class_finetuning.py, without antialiasing; the table is that of the new grid."""
    _, _, config, file = given("eva_02_base", tmp_path)
    model = load(file, config, image=(16, 48))
    assert model.config.interpolation == "cubic-pytorch" and model.config.grid == (2, 6)
    out = load_file(export(model.spec, model.params, tmp_path / "out.safetensors", "eva"))
    assert out["rope.freqs_cos"].shape == (12, 20)
    np.testing.assert_allclose(out["rope.freqs_sin"][7, 10], np.sin(16 / 6), atol=1e-6)  # the second column of the second row
    np.testing.assert_allclose(out["rope.freqs_sin"][7, 0], np.sin(8), atol=1e-6)
    assert_same(load(tmp_path / "out.safetensors", model.config), model)
