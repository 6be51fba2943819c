"""How one gets a CLIP: published files and their vocabulary, on a hub that is played by this machine."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import pytest

import vitjax
from tests.loopback import Hub, Repository, run, serve
from vitjax import (
    CLIP,
    CLIPConfig,
    Error,
    Preprocess,
    Spec,
    TextConfig,
    Tokenize,
    ViTConfig,
    arrays,
    checkpoint,
    converters,
    hub,
    variants,
)
from vitjax.config import config_to_json
from vitjax.model import initialise
from vitjax.tokenizer import BYTES, vocabulary

IMAGE = ViTConfig(32, 8, 32, 2, 4, 80, 16, patch_bias=False, norm_pre=True, eps=1e-5, head_bias=False, act="quick_gelu")
TOWERS = CLIPConfig(IMAGE, TextConfig(16, 49408, 24, 2, 3, 96, 16, act="quick_gelu"))
# Published rows are of full size: here their names stand for a small network. `said` is its config, as JSON.
LOAD = """
import json, sys
from dataclasses import replace
from pathlib import Path
import vitjax
from vitjax import variants
from vitjax.config import config_from_json
towers = config_from_json(json.loads('''{said}'''), "here")
name, address = "{name}", "{address}"
arch = name.partition(".")[0]
variants.VARIANTS[arch] = towers
variants.WEIGHTS[name] = replace(variants.WEIGHTS[name], **({{"origin": address, "sha256": ""}} if address else {{}}))
model = vitjax.load(name{how})
print(json.dumps([type(model).__name__, model.spec.source.dialect, model.spec.config.kind,
                  model.tokenize("ab").tolist() if getattr(model, "tokenizer", None) else None]))
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> str:
    """A vocabulary as large as CLIP's, of pairs of letters."""
    letters = [*BYTES.values()]
    merges = [f"{letters[n // 256]} {letters[n % 256]}</w>" for n in range(49152 - 256 - 2)]
    (path := tmp_path_factory.mktemp("words") / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    return vocabulary(path)


@pytest.fixture(scope="module")
def clip() -> CLIP:
    return CLIP(Spec("clip_test.own", TOWERS, Preprocess(32, 1.0), tokenize=Tokenize()), initialise(TOWERS))


@pytest.fixture(scope="module")
def files(clip, tmp_path_factory) -> dict[str, bytes]:
    """What a repository of open_clip's holds."""
    folder = converters.export(clip.spec, clip.params, tmp_path_factory.mktemp("oc") / "oc", "open_clip").parent
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def load(server: Hub, home: Path, name: str, address: str = "", how: str = "", towers: CLIPConfig = TOWERS) -> list:
    said = json.dumps(config_to_json(towers))
    out, _ = run(LOAD.format(said=said, name=name, address=address, how=how), server.address, home)
    return json.loads(out.splitlines()[-1])


def test_the_file_in_open_clip_s_spelling_is_taken_and_its_vocabulary(files, words, tmp_path):
    repository = {"open_clip_model.safetensors": files["model.safetensors"], "model.safetensors": b"another spelling"}
    repository |= {"tokenizer.json": words.encode()}
    with serve() as server:
        server.repositories["laion/CLIP-ViT-B-32-laion2B-s34B-b79K"] = Repository(repository)
        name = "clip_vit_base_patch32_224.laion2b_s34b_b79k"
        ids = [[49406, *load(server, tmp_path, name)[3][0][1:]]]
        assert load(server, tmp_path, name) == ["CLIP", "open_clip", "clip", ids]
        assert server.bytes_asked("model.safetensors") == 0 and server.bytes_asked("open_clip_model.safetensors") == 1
        asked = len(server.asked)
        assert load(server, tmp_path, name, how=", tower='text'") == ["TextModel", "open_clip", "text", ids]
        assert load(server, tmp_path, name, how=", tower='image'") == ["Model", "open_clip", "vit", None]
        assert len(server.asked) == asked  # both from the checkpoint folder


def test_eva_clip_in_half_precision_by_all_its_names(words, tmp_path):
    """Its repository is called as timm calls the image tower; timm's own is another."""
    repository, name = "timm/eva02_base_patch16_clip_224.merged2b_s8b_b131k", "clip_eva02_base_patch16_224.merged2b_s8b_b131k"
    names = [name, repository, f"hf-hub:{repository}", f"hf_hub:{repository}", "EVA02-B-16", "EVA02-B-16:merged2b_s8b_b131k"]
    assert {variants.resolve(spelling) for spelling in names} == {name}
    image = replace(
        variants.TIMM["eva02_base_patch16_clip_224"], image=32, patch=8, width=32, depth=2, heads=4, mlp=48, classes=16
    )
    towers = CLIPConfig(image, replace(TOWERS.text, act="gelu"))
    half = jax.tree.map(lambda leaf: leaf.astype("float16"), initialise(towers))
    file = converters.export(Spec("eva", towers), half, tmp_path / "eva.safetensors", "open_clip")
    with serve() as server:
        files = {"open_clip_model.safetensors": file.read_bytes(), "tokenizer.json": words.encode()}
        server.repositories[repository] = Repository(files)
        kind, dialect, of, ids = load(server, tmp_path, name, towers=towers)
        assert (kind, dialect, of, ids[0][0]) == ("CLIP", "open_clip", "clip", 49406)
        alone = [load(server, tmp_path, name, how=f", tower='{tower}'", towers=towers)[:3] for tower in ("image", "text")]
        assert alone == [["Model", "open_clip", "vit"], ["TextModel", "open_clip", "text"]]


def test_openai_s_archive_gets_the_vocabulary_from_the_hub(files, words, tmp_path):
    name = "clip_vit_base_patch32_224.openai"
    with serve() as server:
        server.repositories["openai/archives"] = Repository({"ViT-B-32.pt": files["model.safetensors"]})
        server.repositories["openai/clip-vit-large-patch14"] = Repository({"tokenizer.json": words.encode()})
        address = f"{server.address}/openai/archives/resolve/main/ViT-B-32.pt"
        kind, _, _, ids = load(server, tmp_path, name, address)
        assert kind == "CLIP" and ids[0][0] == 49406 and ids[0][2:4] == [49407, 0]


def test_without_a_vocabulary_a_clip_is_as_good_but_for_texts(files, tmp_path):
    name = "clip_vit_base_patch32_224.openai"
    with serve() as server:
        server.repositories["openai/archives"] = Repository({"ViT-B-32.pt": files["model.safetensors"]})
        address = f"{server.address}/openai/archives/resolve/main/ViT-B-32.pt"
        assert load(server, tmp_path, name, address)[3] is None


@pytest.fixture
def folder(clip, tmp_path):
    checkpoint.save(tmp_path / "bare", clip.spec, clip.params)
    return tmp_path / "bare"


def test_no_vocabulary_says_what_to_do(folder):
    with pytest.raises(Error, match=r"clip_test\.own has no vocabulary.*tokenizer\.json"):
        vitjax.load(folder).tokenize("a cat")


def test_a_vocabulary_can_be_given(folder, words, tmp_path):
    (tmp_path / "tokenizer.json").write_text(words)
    found = vitjax.load(folder, tokenizer=tmp_path / "tokenizer.json")
    assert found.tokenize(["ab", ""]).shape == (2, 16)
    assert found.encode_text(found.tokenize("ab"), normalize=True).shape == (1, 16)


def test_a_vocabulary_that_does_not_match(clip, words, tmp_path):
    towers = replace(TOWERS, text=replace(TOWERS.text, vocab=1000))
    small = replace(clip.spec, config=towers, tokenize=Tokenize(start=998, end=999))
    checkpoint.save(tmp_path / "small", small, initialise(small.config))
    (tmp_path / "tokenizer.json").write_text(words)
    with pytest.raises(Error, match="the vocabulary has ids up to 49407, the network's end at 999"):
        vitjax.load(tmp_path / "small", tokenizer=tmp_path / "tokenizer.json")
    with pytest.raises(Error, match="takes no texts"):
        vitjax.load("vit_pico_patch4_32", tokenizer=tmp_path / "tokenizer.json")


def test_the_vocabulary_is_part_of_the_checkpoint(clip, words, tmp_path):
    checkpoint.save(tmp_path / "clip", clip.spec, clip.params, tokenizer=words)
    assert vitjax.load(tmp_path / "clip").tokenizer == words
    file = tmp_path / "clip" / "tokenizer.json"
    file.write_text(words.replace("49407", "49405"))
    with pytest.raises(Error, match=r"tokenizer\.json is not as it was written"):
        vitjax.load(tmp_path / "clip")
    file.unlink()
    with pytest.raises(Error, match=r"tokenizer\.json is missing"):
        vitjax.load(tmp_path / "clip")
    assert vitjax.load(tmp_path / "clip", verify=False).tokenizer is None


@pytest.mark.parametrize("part", ["image", "text"])
def test_nothing_of_the_other_tower_is_read(part, clip, tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "clip", clip.spec, clip.params)
    asked, read = set(), arrays.read

    def counted(leaf, *how):
        asked.add(leaf.path.partition("/")[0])
        return read(leaf, *how)

    monkeypatch.setattr(arrays, "read", counted)
    found = vitjax.load(tmp_path / "clip", tower=part)
    assert asked == {part}
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), dict(found.params), dict(clip.params[part])))


def test_towers_by_name(clip, tmp_path):
    checkpoint.save(tmp_path / "clip", clip.spec, clip.params)
    assert hub.restore(tmp_path / "clip", tower="text")[0].config == TOWERS.text
    with pytest.raises(Error, match="one network, not two towers"):
        vitjax.load("vit_pico_patch4_32", tower="image")
    with pytest.raises(Error, match="unknown tower 'pictures'"):
        vitjax.load(tmp_path / "clip", tower="pictures")
