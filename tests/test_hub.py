"""How one gets a model: names, files, folders, and a hub that is played by this machine."""

import hashlib
import os
import time
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

import vitjax
from tests.loopback import Repository, run, serve, start
from vitjax import Error, Preprocess, Spec, ViTConfig, cache, converters, hub
from vitjax.model import initialise

CONFIG = ViTConfig(40, 8, 36, 2, 3, 120, 7)


@pytest.fixture(scope="module")
def model():
    return vitjax.Model(Spec("test_vit.own", CONFIG, Preprocess(40), tuple("abcdefg")), initialise(CONFIG))


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    """A bare file in timm's spelling of a network that is in no table."""
    return converters.export(model.spec, model.params, tmp_path_factory.mktemp("bare") / "mine.safetensors")


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """The same with timm's config.json."""
    return converters.export(model.spec, model.params, tmp_path_factory.mktemp("timm") / "mine").parent


def same(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), dict(a.params), dict(b.params)))


def images(model, batch=2, seed=0):
    height, width = vitjax.config.hw(model.config.image)
    return np.random.default_rng(seed).standard_normal((batch, height, width, 3)).astype("f4")


def test_a_network_no_table_has(model, file):
    found = vitjax.load(file, config=CONFIG)
    assert found.config == CONFIG
    assert same(found, model)
    assert found.spec.source.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_folder_says_everything(model, folder):
    found = vitjax.load(folder)
    assert same(found, model)
    assert found.spec.labels == tuple("abcdefg")
    assert found.config == CONFIG


def test_a_bare_file_needs_its_architecture(file, model, tmp_path):
    with pytest.raises(Error, match="--variant"):
        vitjax.load(file)
    with pytest.raises(Error, match=r"vit_base_patch16_224.*timm"):
        vitjax.load(file, variant="vit_base_patch16_224")
    small = vitjax.create("test_vit", classes=5)
    path = converters.export(small.spec, small.params, tmp_path / "small.safetensors")
    with pytest.raises(Error, match="it has the tensors of test_vit"):
        vitjax.load(path)
    assert vitjax.load(path, variant="test_vit").config.classes == 5  # an architecture has any number of classes
    with pytest.raises(Error, match=r"head\.weight \[1000, 64\].*the file has \[5, 64\]"):
        vitjax.load(path, variant="test_vit.r160_in1k")  # a tag has its own
    with pytest.raises(Error, match=r"its tensors fit test_vit"):
        vitjax.load(path, variant="test_vit2")
    assert vitjax.load(path, variant="test_vit", classes=0).config.classes == 0


def test_config_json_and_variant_must_agree(folder):
    assert vitjax.load(folder, variant="test_vit").config == CONFIG
    with pytest.raises(Error, match=r"say test_vit\.own, not vit_base_patch16_224"):
        vitjax.load(folder, variant="vit_base_patch16_224")


def test_classes_image_dtype(folder):
    plain = vitjax.load(folder)
    bare = vitjax.load(folder, classes=0)
    np.testing.assert_array_equal(bare(images(bare)), plain.embed(images(plain)))
    fresh = vitjax.load(folder, classes=3, image=(24, 56), dtype="bfloat16")
    assert fresh(images(fresh)).shape == (2, 3)
    assert fresh.spec.labels == ()
    assert fresh.spec.preprocess.size == (24, 56)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(fresh.params)} == {"bfloat16"}
    with pytest.raises(Error, match=r"dtype 'int8'"):
        vitjax.load(folder, dtype="int8")


def test_create():
    a, b = vitjax.create("test_vit2", classes=3, image=32, seed=4), vitjax.create("test_vit2", classes=3, image=32, seed=4)
    assert same(a, b)
    assert not same(a, vitjax.create("test_vit2", classes=3, image=32, seed=5))
    assert a(images(a)).shape == (2, 3)
    assert a.spec.labels == ()
    with pytest.raises(Error, match="vit_base_patch16_224"):
        vitjax.create("vit_bsae_patch16_224")


def test_names():
    assert "vit_base_patch16_384" in vitjax.list_models("vit_base_*")
    assert vitjax.list_pretrained("vit_base_patch16_384")[0] == "vit_base_patch16_384.augreg_in21k_ft_in1k"
    with pytest.raises(Error, match="vit_base_patch16_384"):
        vitjax.load("vit_base_patch16_385")
    with pytest.raises(Error, match="does not exist"):
        vitjax.load("nowhere/model.safetensors")


def test_model_says_what_is_wrong(model):
    for wrong in (np.zeros((2, 41, 40, 3), "f4"), np.zeros((40, 40, 3), "f4"), np.zeros((2, 40, 40, 3), "u1")):
        with pytest.raises(Error, match=r"\(B, 40, 40, 3\).*preprocess"):
            model(wrong)
    with pytest.raises(Error, match="no classifier"):
        vitjax.Model(replace(model.spec, config=replace(CONFIG, classes=0), labels=()), model.params).classify(
            np.zeros((40, 40, 3), "u1")
        )
    with pytest.raises(Error, match=r"blocks \[2\]"):
        model.feature_maps(images(model), blocks=(2,))


def test_classify_takes_one_picture_or_several(model):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 60, 3), "u1"))
    one, several = model.classify(picture, top=3), model.classify([picture, picture], top=99)
    assert several[0] == several[1] and len(several[0]) == 7
    assert [label for label, _ in one] == [label for label, _ in several[0][:3]]  # one picture is another compilation
    assert [p for _, p in one] == pytest.approx([p for _, p in several[0][:3]], rel=1e-5)
    assert sum(p for _, p in several[0]) == pytest.approx(1)
    assert sorted((p for _, p in several[0]), reverse=True) == [p for _, p in several[0]]


@pytest.fixture(scope="module")
def server():
    with serve() as server:
        yield server


LOAD = (
    "import vitjax; m = vitjax.load({!r});"
    "print(m.spec.name, m.spec.source.origin, m.params['norm']['scale'].shape, len(m.spec.labels))"
)
SAID = "test_vit.r160_in1k hf:timm/test_vit.r160_in1k (64,) 1000\n"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> bytes:
    """A file as timm publishes it."""
    model = vitjax.create("test_vit", seed=3)
    return converters.export(model.spec, model.params, tmp_path_factory.mktemp("small") / "model.safetensors").read_bytes()


def converted(home) -> list[str]:
    return [name for name in os.listdir(home / "vitjax") if not name.startswith(".")]


def test_first_use_downloads_and_converts_the_second_does_not(server, folder, small, tmp_path):
    server.repositories["timm/test_vit.r160_in1k"] = Repository({"model.safetensors": small, "README.md": b"not downloaded"})
    server.repositories["someone/mine"] = Repository({path.name: path.read_bytes() for path in folder.iterdir()})
    for name, said in ("test_vit", SAID), ("hf:someone/mine", "test_vit.own hf:someone/mine (36,) 7\n"):
        assert run(LOAD.format(name), server.address, tmp_path)[0] == said
        assert not server.bytes_asked("README.md")
        server.asked.clear()
        assert run(LOAD.format(name), server.address, tmp_path)[0] == said
        assert server.asked == []
    assert sorted(converted(tmp_path)) == ["someone--mine", "test_vit.r160_in1k"]


def test_two_at_once_convert_once(server, small, tmp_path):
    server.repositories["timm/test_vit.r160_in1k"] = Repository({"model.safetensors": small}, slow=0.5)
    server.asked.clear()
    both = [start(LOAD.format("test_vit"), server.address, tmp_path) for _ in range(2)]
    ends = [process.communicate(timeout=300) for process in both]
    assert [out for out, _ in ends] == [SAID, SAID], ends
    assert sum("converting" in err for _, err in ends) == 1
    assert server.bytes_asked("model.safetensors") == 1


def test_a_kill_while_downloading_leaves_the_cache_usable(server, small, tmp_path):
    repository = server.repositories["timm/test_vit.r160_in1k"] = Repository({"model.safetensors": small}, slow=60)
    server.asked.clear()
    process = start(LOAD.format("test_vit"), server.address, tmp_path)
    while not server.bytes_asked("model.safetensors"):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    repository.slow = 0
    assert run(LOAD.format("test_vit"), server.address, tmp_path)[0] == SAID
    assert converted(tmp_path) == ["test_vit.r160_in1k"]


def test_an_address_and_its_hash(server, small, tmp_path):
    server.repositories["a/b"] = Repository({"net.pth.tar": small})
    row = f"replace(WEIGHTS['test_vit.r160_in1k'], origin={server.address + '/a/b/resolve/main/net.pth.tar'!r}, sha256={{!r}})"
    code = "from dataclasses import replace; from vitjax.variants import WEIGHTS; WEIGHTS['test_vit.r160_in1k'] = {row}; {load}"
    right, wrong = (code.format(row=row.format(hash), load=LOAD.format("test_vit")) for hash in (sha256(small), "0" * 64))
    process = start(wrong, server.address, tmp_path)
    assert "is not the file that was published" in process.communicate()[1] and not converted(tmp_path)
    assert run(right, server.address, tmp_path)[0].startswith("test_vit.r160_in1k http://127.0.0.1")


def test_weights_that_cannot_be_had_say_how_to_get_them(server, tmp_path):
    code = "import vitjax\ntry: vitjax.load({!r})\nexcept vitjax.Error as error: print(error)"
    found, _ = run(code.format("vit_tiny_patch16_224"), "http://127.0.0.1:9", tmp_path)  # nobody answers
    for said in "vit_tiny_patch16_224.augreg_in21k_ft_in1k is not on this machine", "hf:timm/", "vitjax convert FILE":
        assert said in found
    found, _ = run(code.format("hf:nobody/nothing"), server.address, tmp_path)
    assert "hf:nobody/nothing could not be downloaded" in found
    assert not converted(tmp_path)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_embedded_weights_need_nothing():
    assert hub.fetch("vit_pico_patch4_32") == cache.EMBEDDED / "vit_pico_patch4_32.digits"
