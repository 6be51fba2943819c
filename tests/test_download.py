"""Files from a hub and from addresses: the right ones, whole, once, and a clear word where that cannot be."""

import hashlib
import json

import pytest

from tests.loopback import Hub, Repository, run, serve
from vitjax import Error, download
from vitjax.download import address, choose

LARGE = bytes(range(256)) * 40
SETTINGS = {"config.json": b"{}", "preprocessor_config.json": b"{}", "README.md": b"not for us"}
# every repository in one process: fetched, as (file name, names beside it), or the error
FETCH = """
import json
from vitjax.download import repository
found = {}
for name in json.loads(%r):
    try:
        path = repository(name)
        found[name] = [path.name, sorted(p.name for p in path.parent.iterdir())]
    except Exception as error:
        found[name] = [type(error).__name__, str(error)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def hub():
    with serve() as hub:
        yield hub


def fetch(hub: Hub, home, *names: str, **env: str) -> dict[str, list]:
    return json.loads(run(FETCH % json.dumps(names), hub.address, home, **env)[0])


SHARDS = {f"model-0000{i}-of-00002.safetensors": LARGE for i in (1, 2)}
GOOD = {
    "whole/one": ({"model.safetensors": LARGE, "pytorch_model.bin": LARGE, "onnx/model.onnx": LARGE}, ["model.safetensors"]),
    "shards/two": (SHARDS | {"model.safetensors.index.json": b"{}"}, [*SHARDS, "model.safetensors.index.json"]),
    "old/bin": ({"pytorch_model.bin": LARGE, "training_args.bin": LARGE}, ["pytorch_model.bin"]),
    "birder/net": ({"vit_b16_some.pt": LARGE}, ["vit_b16_some.pt"]),
    "google/npz": ({"B_16.npz": LARGE}, ["B_16.npz"]),
}


def test_the_weights_and_their_settings(hub, tmp_path):
    for name, (files, _) in GOOD.items():
        hub.repositories[name] = Repository(SETTINGS | files)
    names = [*GOOD, "whole/one@main"]
    found = fetch(hub, tmp_path, *[f"hf:{name}" for name in names])
    for name, (_, wanted) in GOOD.items():
        assert found[f"hf:{name}"] == [wanted[-1], sorted([*wanted, "config.json", "preprocessor_config.json"])]
    assert found["hf:whole/one@main"] == found["hf:whole/one"]
    assert any("/whole/one/revision/main" in line for line in hub.asked)
    hub.asked.clear()  # a second time: from the cache, with and without a network
    assert fetch(hub, tmp_path, "hf:whole/one") == {"hf:whole/one": found["hf:whole/one"]}
    assert not hub.bytes_asked("model.safetensors")
    assert fetch(hub, tmp_path, "hf:whole/one", HF_HUB_OFFLINE="1") == {"hf:whole/one": found["hf:whole/one"]}
    nobody = Hub("http://127.0.0.1:9")
    assert fetch(nobody, tmp_path, "hf:whole/one") == {"hf:whole/one": found["hf:whole/one"]}
    for name, env in (("hf:never/seen", {}), ("hf:never/seen", {"HF_HUB_OFFLINE": "1"})):
        kind, said = fetch(nobody, tmp_path, name, **env)[name]
        assert kind == "Error" and "could not be downloaded" in said and "network" in said


BAD = {
    "nobody/nothing": (None, "is the name right?"),
    "secret/gated": (Repository({"model.safetensors": LARGE}, status=401), "hf auth login"),
    "empty/repo": (Repository(dict(SETTINGS)), "holds no weights"),
    "many/weights": (Repository({"a.safetensors": LARGE, "b.safetensors": LARGE}), "a.safetensors, b.safetensors"),
    "wrong/hash": (Repository({"model.safetensors": LARGE}, wrong_hash=True), "not the file that was published"),
}


def test_what_cannot_be_had_is_said(hub, tmp_path):
    hub.repositories |= {name: repository for name, (repository, _) in BAD.items() if repository}
    found = fetch(hub, tmp_path, *[f"hf:{name}" for name in BAD])
    for name, (_, words) in BAD.items():
        kind, said = found[f"hf:{name}"]
        assert kind == "Error" and words in said and name.partition("/")[2] in said + name and "\n" not in said, said
    hub.repositories["wrong/hash"].wrong_hash = False  # what was wrong is not kept
    assert fetch(hub, tmp_path, "hf:wrong/hash")["hf:wrong/hash"][0] == "model.safetensors"


def test_cut_and_slow_connections(hub, tmp_path):
    hub.repositories["cut/once"] = Repository({"model.safetensors": LARGE}, cut=1)
    hub.repositories["slow/one"] = Repository({"model.safetensors": LARGE}, slow=1.5)
    found = fetch(hub, tmp_path, "hf:cut/once", "hf:slow/one")
    assert found == {name: ["model.safetensors", ["model.safetensors"]] for name in ("hf:cut/once", "hf:slow/one")}
    for file in tmp_path.rglob("snapshots/*/model.safetensors"):
        assert file.read_bytes() == LARGE


def test_an_address(hub, tmp_path, monkeypatch):
    hub.repositories["a/b"] = repository = Repository({"net.pth.tar": LARGE})
    url, sha256 = f"{hub.address}/a/b/resolve/main/net.pth.tar", hashlib.sha256(LARGE).hexdigest()
    for words, changes, sha in (("ended after", {"cut": 1}, ""), ("not the file that was published", {}, "0" * 64)):
        vars(repository).update(changes)
        with pytest.raises(Error, match=words):
            address(url, tmp_path / "files", sha)
        assert not list(tmp_path.rglob("*net*"))  # nothing half, nothing wrong
    with pytest.raises(Error, match=r"could not be downloaded \(HTTPError: HTTP Error 404"):
        address(url + "x", tmp_path / "files")
    repository.slow = 3
    with monkeypatch.context() as patch, pytest.raises(Error, match=r"the connection broke .*timed out"):
        patch.setattr(download, "TIMEOUT", 1)
        address(url, tmp_path / "files")
    repository.slow = 0
    assert address(url, tmp_path / "files", sha256).read_bytes() == LARGE
    hub.asked.clear()
    assert address(url, tmp_path / "files", sha256).read_bytes() == LARGE and not hub.asked
    with pytest.raises(Error, match="could not be downloaded"):
        address("http://127.0.0.1:9/x.pt", tmp_path)


def test_choice():
    assert choose("here", ["model-00001-of-00002.bin", "x.npz", "x.pth"]) == ["x.pth"]
    with pytest.raises(Error, match="no weights"):
        choose("here", ["flax_model.msgpack"])
