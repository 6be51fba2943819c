"""How one gets a model: names, files, folders, and a hub that is played by this machine."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from typing import ClassVar

import jax
import numpy as np
import pytest
from PIL import Image

import vitjax
from vitjax import Error, Preprocess, Spec, ViTConfig, converters, hub, variants
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
    with pytest.raises(Error, match=r"says test_vit\.own, not vit_base_patch16_224"):
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
    with pytest.raises(Error, match="safetensors"):  # published as a PyTorch archive only
        vitjax.load(next(name for name, row in variants.WEIGHTS.items() if (row.origin or "").startswith("http")))


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
    assert len(one) == 3 and one == several[0][:3] == several[1][:3]
    assert len(several[0]) == 7
    assert sum(p for _, p in several[0]) == pytest.approx(1)
    assert sorted((p for _, p in several[0]), reverse=True) == [p for _, p in several[0]]


class Hub(http.server.BaseHTTPRequestHandler):
    """The calls that huggingface_hub makes: what a repository is, the files in it, and a file."""

    repos: ClassVar[dict[str, dict[str, bytes]]] = {}
    asked: ClassVar[list[str]] = []
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.asked.append(self.path)
        parts = self.path.split("?")[0].strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        files = self.repos.get("/".join(parts[2:4] if api else parts[:2]), {})
        if not api:
            body = files.get("/".join(parts[4:]))
        elif "tree" in parts:
            entries = [{"type": "file", "path": name, "size": len(body), "oid": "0" * 40} for name, body in files.items()]
            body = json.dumps(entries).encode()
        else:
            listing = [{"rfilename": name} for name in files]
            body = json.dumps({"id": "x", "sha": "f" * 40, "siblings": listing}).encode() if files else None
        self.answer(body or b"", body is None)

    do_HEAD = do_GET

    def answer(self, body: bytes, missing: bool):
        self.send_response(404 if missing else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", "f" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def in_a_new_process(code: str, server: str, home) -> subprocess.CompletedProcess:
    """huggingface_hub reads its environment when it is imported."""
    env = {"HF_ENDPOINT": server, "HF_HOME": str(home / "hf"), "VITJAX_CACHE": str(home / "vitjax"), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run([sys.executable, "-c", code], env=os.environ | env, capture_output=True, text=True, timeout=300)


def test_first_use_downloads_and_converts_the_second_does_not(server, folder, tmp_path):
    small = vitjax.create("test_vit", seed=3)
    path = converters.export(small.spec, small.params, tmp_path / "small.safetensors")
    Hub.repos["timm/test_vit.r160_in1k"] = {"model.safetensors": path.read_bytes(), "README.md": b"not downloaded"}
    Hub.repos["someone/mine"] = {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")}
    code = (
        "import vitjax; m = vitjax.load({!r});"
        "print(m.spec.name, m.spec.source.origin, m.params['norm']['scale'].shape, len(m.spec.labels))"
    )
    for name, said in (
        ("test_vit", "test_vit.r160_in1k hf:timm/test_vit.r160_in1k (64,) 1000\n"),
        ("hf:someone/mine", "test_vit.own hf:someone/mine (36,) 7\n"),
    ):
        first = in_a_new_process(code.format(name), server, tmp_path)
        assert first.stdout == said, first.stderr
        assert not any("README" in path for path in Hub.asked)
        Hub.asked.clear()
        assert in_a_new_process(code.format(name), server, tmp_path).stdout == said
        assert Hub.asked == []
    assert sorted(os.listdir(tmp_path / "vitjax")) == ["someone--mine", "test_vit.r160_in1k"]


def test_weights_that_cannot_be_had_say_how_to_get_them(server, tmp_path):
    code = "import vitjax\ntry: vitjax.load({!r})\nexcept vitjax.Error as error: print(error)"
    found = in_a_new_process(code.format("vit_tiny_patch16_224"), "http://127.0.0.1:9", tmp_path)  # nobody answers
    for said in (
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k is not on this machine",
        "hf:timm/",
        "vitjax convert model.safetensors",
    ):
        assert said in found.stdout, found.stdout + found.stderr
    found = in_a_new_process(code.format("hf:nobody/nothing"), server, tmp_path)
    assert "hf:nobody/nothing could not be downloaded" in found.stdout, found.stdout + found.stderr
    assert not (tmp_path / "vitjax").exists()


def test_embedded_weights_need_nothing():
    assert hub.fetch("vit_pico_patch4_32") == hub.EMBEDDED / "vit_pico_patch4_32.digits"
