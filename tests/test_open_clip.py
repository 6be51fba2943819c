"""The numbers of open_clip and of OpenAI's own code, stage by stage, through their files and `vitjax.load`."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

import vitjax
from tests.recipe import uniform, weight
from tests.test_parity import FIXTURES, assert_close, assert_stages, read, under
from tests.torch_files import member, members, pickled, script, storage, tensor, zipped
from vitjax import Error, checkpoint, converters, variants
from vitjax.config import CLIPConfig, TextConfig, ViTConfig
from vitjax.converters import convert, export, files
from vitjax.surgery import resize
from vitjax.verify import FULL, SMALL, verify

FAMILIES = sorted(path.stem for path in FIXTURES.glob("open_clip_*.npz") if "full" not in path.stem)
# Image towers of timm's go by their name there, and are small in the fixtures: tests/reference/make_open_clip.py, TRUNK.
TRUNKS = ("vit_base_patch16_siglip_224", "vit_medium_patch16_gap_256", "vit_large_patch14_clip_224", "eva_giant_patch14_224")
TRUNKS += ("eva_giant_patch14_clip_224", "eva02_base_patch16_clip_224", "eva02_enormous_patch14_clip_224")
TRUNK = dict(image=16, patch=4, width=24, depth=2, heads=3, mlp=48)
towers = pytest.mark.parametrize(("tower", "kind"), [("image", "input"), ("text", "ids")])


def publish(family: str, folder: Path) -> dict[str, np.ndarray]:
    """Write a tiny network as open_clip saves it; what open_clip makes of pictures and texts with it."""
    reference = read(family)
    (folder / "open_clip_config.json").write_text(str(reference["config"]))
    save_file(under("state/", reference), folder / "open_clip_model.safetensors")
    return reference


@pytest.fixture
def small_trunks(monkeypatch):
    for known in TRUNKS:
        monkeypatch.setitem(variants.TIMM, known, replace(variants.TIMM[known], **TRUNK))


@pytest.fixture(params=FAMILIES)
def published(request, tmp_path, small_trunks) -> tuple[Path, dict[str, np.ndarray]]:
    (tmp_path / request.param).mkdir()
    return tmp_path / request.param, publish(request.param, tmp_path / request.param)


def part_of(reference: Mapping[str, np.ndarray], tower: str, kind: str) -> dict[str, np.ndarray]:
    """What one of the towers makes of its input, as it is called in a network by itself."""
    stages = under(f"stage/{tower}/", dict(reference)) | {"logits": reference[f"stage/{tower}_features"]}
    return {kind: reference[kind]} | {f"stage/{name}": stage for name, stage in stages.items()}


def assert_numbers(model: vitjax.CLIP, reference: dict[str, np.ndarray]) -> None:
    """Every stage and every method."""
    x, ids, stage = reference["input"], reference["ids"], under("stage/", reference)
    assert_stages(model, reference)
    assert_close(model.encode_image(x), stage["image_features"])
    assert_close(model.encode_text(ids), stage["text_features"])
    for logits in model(x, ids)[0], model(x, ids)[1].T:
        assert_close(logits, stage["logits_per_image"])


def test_every_stage(published):
    folder, reference = published
    model = vitjax.load(folder)
    assert set(model.stages(reference["input"], reference["ids"])) == set(under("stage/", reference))
    assert_numbers(model, reference)


def test_another_size(published):
    folder, reference = published
    resized = under("resized/", reference) | {"ids": reference["ids"]}
    model = vitjax.load(folder, image=resized["input"].shape[1:3])
    assert len(verify(model, resized)) == 5
    assert_stages(model, resized)
    found, params = convert(folder)
    wrong = replace(found, config=replace(found.config, image=replace(found.config.image, interpolation="cubic-pytorch")))
    off = [s for s in verify(vitjax.CLIP(*resize(wrong, jax.tree.map(jnp.asarray, params), (12, 20))), resized) if not s.good]
    assert off[0].name == "image/embed"  # antialiasing is noticed


@towers
def test_one_tower_of_two(published, tower, kind, monkeypatch):
    folder, reference = published
    seen, real = [], converters.stored.Stored.read
    monkeypatch.setattr(converters.stored.Stored, "read", lambda self, *memory: seen.append(self.offset) or real(self, *memory))
    model = vitjax.load(folder, tower=tower)
    tensors = files.read(folder).tensors
    mine = {name for name in tensors if name.startswith("visual.") == (tower == "image") and not name.startswith("logit_")}
    assert {name for name, tensor in tensors.items() if tensor.offset in seen} == mine  # nothing of the other is read
    own = part_of(reference, tower, kind)
    if not model.config.classes:
        del own["stage/logits"]
    assert {f"stage/{name}" for name in model.stages(reference[kind])} == set(own) - {kind}
    assert_stages(model, own)
    assert_close(model(reference[kind]), reference[f"stage/{tower}_features"])


def test_through_a_checkpoint_folder(published, tmp_path):
    folder, reference = published
    checkpoint.save(tmp_path / "ours", *convert(folder))
    model = vitjax.load(tmp_path / "ours")
    assert_numbers(model, reference)
    for tower, kind in ("image", "input"), ("text", "ids"):
        assert_close(vitjax.load(tmp_path / "ours", tower=tower)(reference[kind]), reference[f"stage/{tower}_features"])
    export(model.spec, model.params, tmp_path / "theirs", "open_clip")
    assert_numbers(vitjax.load(tmp_path / "theirs"), reference)


def test_bfloat16(published):
    folder, reference = published
    assert_cosine(vitjax.load(folder, dtype="bfloat16"), reference["input"], reference)


def assert_cosine(model: vitjax.CLIP, x: np.ndarray, reference: Mapping[str, np.ndarray]) -> None:
    for features, tower in (model.encode_image(x), "image"), (model.encode_text(reference["ids"]), "text"):
        ours, theirs = np.asarray(features, np.float32), reference[f"stage/{tower}_features"]
        assert features.dtype == jnp.bfloat16
        cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
        assert cosine.min() > 0.999


def test_full_size(tmp_path):
    """OpenAI's ViT-L/14, both towers."""
    reference = read("open_clip_full_vit_l14")
    file = tmp_path / "model.safetensors"
    manifest = json.loads(str(reference["manifest"]))
    save_file({key: np.asarray(weight(key, tuple(shape))) for key, shape in manifest.items()}, file)
    model = vitjax.load(file, variant="clip_vit_large_patch14_224.openai")
    assert variants.parameters(model.config) == 427_616_513
    x = uniform("input", tuple(reference["input"]))
    stages = model.stages(x, reference["ids"])
    for tower in "image", "text":
        assert_close(stages[f"{tower}/tokens"][:, ::16], reference[f"stage/{tower}/tokens"], FULL)
    for key in "image_features", "text_features", "logits_per_image":
        assert_close(stages[key], reference[f"stage/{key}"], FULL)
    del model, stages
    assert_cosine(vitjax.load(file, variant="clip_vit_large_patch14_224.openai", dtype="bfloat16"), x, reference)
    file.unlink()  # 1.7 GB


# fmt: off
MISTAKES = {  # of a tower: what is wrong, and the stage that shows it first
    "eps":                    ("open_clip_gelu",       "image", "embed",         {"eps": 1e-6}),
    "eps of a text":          ("open_clip_odd",        "text",  "block_00/attn", {"eps": 1e-5}),
    "eps of SigLIP":          ("open_clip_siglip",     "image", "block_00/attn", {"eps": 1e-5}),
    "sigmoid for erf":        ("open_clip_gelu",       "image", "block_00/mlp",  {"act": "quick_gelu"}),
    "erf for sigmoid":        ("open_clip_quick_gelu", "text",  "block_00/mlp",  {"act": "gelu"}),
    "erf for tanh":           ("open_clip_siglip",     "text",  "block_00/mlp",  {"act": "gelu"}),
    "tanh for erf":           ("open_clip_trunk",      "image", "block_00/mlp",  {"act": "gelu_tanh"}),
    "both ways":              ("open_clip_gelu",       "text",  "block_00/attn", {"causal": False}),
    "one way":                ("open_clip_clipa",      "text",  "block_00/attn", {"causal": True}),
    "norm before":            ("open_clip_clipa",      "image", "tokens",        {"norm": "before"}),
    "norm after":             ("open_clip_gelu",       "image", "tokens",        {"norm": "after"}),
    "the class token, too":   ("open_clip_clipa",      "image", "pooled",        {"pool_prefix": True}),
    "the class token":        ("open_clip_clipa",      "image", "pooled",        {"pool": "token"}),
    "the mean":               ("open_clip_gelu",       "image", "pooled",        {"pool": "mean"}),
    "the last":               ("open_clip_eos",        "text",  "pooled",        {"pool": "last", "eos": None}),
    "the end by its height":  ("open_clip_eos",        "text",  "pooled",        {"pool": "argmax", "eos": None}),
    "another end":            ("open_clip_eos",        "text",  "pooled",        {"eos": 2}),
    "not turned":             ("open_clip_eva02",      "image", "block_00/attn", {"rotary": False, "rotary_grid": None}),
    "turned on its own grid": ("open_clip_eva02",      "image", "block_00/attn", {"rotary_grid": None}),
    "erf for SwiGLU":         ("open_clip_eva02",      "image", "block_00/mlp",  {"act": "gelu"}),
    "norms before branches":  ("open_clip_eva02_e",    "image", "block_00/attn", {"norm_post": False}),
    "the mean, as by itself": ("open_clip_eva01",      "image", "pooled",        {"pool": "mean"}),
    "EVA's norm after":       ("open_clip_eva01",      "image", "tokens",        {"norm": "after"}),
    "the end by its id":      ("open_clip_gelu",       "text",  "pooled",        {"pool": "eos", "eos": 40}),
}
# fmt: on


@pytest.mark.parametrize(("family", "tower", "first", "changes"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_noticed_where_it_is_made(family, tower, first, changes, tmp_path, small_trunks):
    reference = publish(family, tmp_path)
    model = vitjax.load(tmp_path, tower=tower)
    wrong = replace(model, spec=replace(model.spec, config=replace(model.config, **changes)))
    off = [stage for stage in verify(wrong, part_of(reference, tower, "input" if tower == "image" else "ids")) if not stage.good]
    assert off[0].name == first and off[0].difference > 10 * SMALL * off[0].scale, off[0]


# OpenAI's archives

WHOLE, HALF = "openai_clip", "openai_clip_fp16"  # the second as they are published
TINY = CLIPConfig(
    ViTConfig(32, 8, 32, 2, 4, 128, 24, act="quick_gelu", eps=1e-5, patch_bias=False, norm_pre=True, head_bias=False),
    TextConfig(12, 64, 24, 2, 3, 96, 24, act="quick_gelu"),
)
KINDS = {"float32": "torch.FloatStorage", "float16": "torch.HalfStorage", "int64": "torch.LongStorage"}


def archive(tensors: Mapping[str, np.ndarray]) -> bytes:
    """A TorchScript archive of modules with these parameters and buffers, and what such modules have besides."""
    tree, records = {}, []
    for key, array in tensors.items():
        *modules, attribute = key.split(".")
        place = tree
        for module in modules:
            place = place.setdefault(module, {})
        place[attribute] = tensor(storage(str(len(records)), KINDS[array.dtype.name], array.size), array.shape)
        records.append(array.tobytes())

    def saved(node: Mapping[str, object]) -> bytes:
        inside = ((key, saved(value) if isinstance(value, dict) else value) for key, value in node.items())
        return script(("training", b"\x88"), *inside, ("_is_full_backward_hook", b"N"))

    constants = member("archive/constants.pkl", pickled(b")"))
    return zipped([*members(pickled(saved(tree)), *records, order=None), constants])


def written(family: str, folder: Path, suffix: str) -> tuple[Path, dict[str, np.ndarray]]:
    """OpenAI's weights as an archive, or as their names and numbers alone."""
    reference = read(family)
    state, file = under("state/", reference), folder / f"model{suffix}"
    if suffix == ".pt":
        sizes = {name: np.array(value) for name, value in (("input_resolution", 32), ("context_length", 12), ("vocab_size", 64))}
        file.write_bytes(archive(sizes | state))
    else:
        save_file(state, file)
    return file, reference


@pytest.fixture
def small_rows(monkeypatch):
    """The rows of OpenAI's network as small as the fixture: whole, and as timm's image tower."""
    image = replace(TINY.image, act="gelu", head_bias=True, classes=24)
    whole = replace(TINY, image=replace(TINY.image, act="gelu"), text=replace(TINY.text, act="gelu"))
    rows = {"clip_vit_base_patch32_224": whole, "vit_base_patch32_clip_224": image}
    for row, config in rows.items():
        monkeypatch.setitem(variants.VARIANTS, row, config)
    for tag in "openai", "laion2b":
        row = f"vit_base_patch32_clip_224.{tag}"
        monkeypatch.setitem(variants.WEIGHTS, row, replace(variants.WEIGHTS[row], classes=24))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("family", [WHOLE, HALF])
def test_openai(family, suffix, tmp_path):
    file, reference = written(family, tmp_path, suffix)
    model = vitjax.load(file, config=TINY)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(model.params)} == {"float32"}
    assert len(verify(model, reference)) == 17
    assert_numbers(model, reference)
    for part, features in ("image", "image_features"), ("text", "text_features"):
        pair = {f"stage/{key}": reference[f"stage/{key}"] for key in (features, f"{features}_norm")}
        encode, x = getattr(model, f"encode_{part}"), reference["input" if part == "image" else "ids"]
        assert_close(encode(x, normalize=True), pair[f"stage/{features}_norm"])
        kind = "input" if part == "image" else "ids"
        alone = vitjax.load(file, config=TINY, tower=part)
        assert_stages(alone, part_of(reference, part, kind))
        assert_close(alone(reference[kind]), reference[f"stage/{features}"])


def test_an_archive_is_openais_and_is_run_as_such(tmp_path, small_rows):
    file, reference = written(HALF, tmp_path, ".pt")
    for variant in "clip_vit_base_patch32_224", "clip_vit_base_patch32_224.openai", "clip_vit_base_patch32_224.laion2b_e16":
        model = vitjax.load(file, variant=variant)
        assert model.config == TINY and model.spec.source.reference == "openai/CLIP d05afc4"
        assert_numbers(model, reference)
    assert vitjax.load(file, variant="ViT-B/32").spec.name == "clip_vit_base_patch32_224.openai"
    with pytest.raises(Error, match="unknown reference 'timm'"):
        vitjax.load(file, variant="ViT-B/32", reference="timm")


def test_the_activation_is_said_by_a_tag_or_by_the_user(tmp_path, small_rows):
    file, reference = written(WHOLE, tmp_path, ".safetensors")
    with pytest.raises(Error) as error:
        vitjax.load(file, variant="clip_vit_base_patch32_224")
    assert "does not say its activation, nor does clip_vit_base_patch32_224" in str(error.value)
    assert "clip_vit_base_patch32_224.openai" in str(error.value) and "act=..." in str(error.value)
    assert_numbers(vitjax.load(file, variant="clip_vit_base_patch32_224", act="quick_gelu"), reference)
    assert_numbers(vitjax.load(file, variant="clip_vit_base_patch32_224.openai"), reference)
    for other in {"variant": "ViT-B-32:laion2b_s34b_b79k"}, {"variant": "clip_vit_base_patch32_224", "act": "gelu"}:
        model = vitjax.load(file, **other)
        assert (model.config.image.act, model.config.text.act) == ("gelu", "gelu")
        assert next(stage.name for stage in verify(model, reference) if not stage.good) == "image/block_00/mlp"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_image_tower_is_timms(suffix, tmp_path, small_rows):
    """Taken by timm's name from both towers; in timm's spelling its head has a bias, of zeros."""
    file, reference = written(WHOLE, tmp_path, suffix)
    how = {} if suffix == ".pt" else {"act": "quick_gelu"}
    own = part_of(reference, "image", "input")
    for variant in "vit_base_patch32_clip_224.openai", "vit_base_patch32_clip_224":
        model = vitjax.load(file, variant=variant, **how)
        assert model.config == TINY.image
        assert_stages(model, own)
    exported = load_file(export(model.spec, model.params, tmp_path / "timm.safetensors", "timm"))
    assert exported["head.bias"].shape == (24,) and not exported["head.bias"].any()
    again = vitjax.load(tmp_path / "timm.safetensors", config=replace(TINY.image, head_bias=True))
    assert_stages(again, own)
    features = vitjax.load(file, variant=variant, classes=0, **how)
    assert_close(features(reference["input"]), own["stage/pooled"])
    exported["head.bias"][3] = 1
    save_file(exported, tmp_path / "timm.safetensors")
    with pytest.raises(Error, match="no parameter for a part that is not zero"):
        vitjax.load(tmp_path / "timm.safetensors", config=TINY.image)


@pytest.mark.parametrize("family", [WHOLE, HALF])
def test_to_hugging_face_and_back(family, tmp_path):
    file, reference = written(family, tmp_path, ".pt")
    found, params = convert(file, config=TINY, dtype="keep")
    export(found, params, tmp_path / "theirs", "huggingface")
    again, back = convert(tmp_path / "theirs", dtype="keep")
    assert replace(again.config, image=replace(again.config.image, interpolation="cubic")) == TINY
    ours, theirs = ({path: np.asarray(leaf) for path, leaf in flatten_dict(tree).items()} for tree in (params, back))
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        assert leaf.tobytes() == theirs[path].tobytes() and leaf.dtype == theirs[path].dtype
    state = load_file(export(again, back, tmp_path / "back.safetensors", "openai"))
    for key, array in under("state/", reference).items():
        assert state[key].tobytes() == array.tobytes() and state[key].dtype == array.dtype
    assert len(state) == len(under("state/", reference))
    assert_numbers(vitjax.load(tmp_path / "theirs"), reference)
