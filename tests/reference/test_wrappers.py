"""What training scripts save with torch, opened: wrappers, prefixes, shards, TorchScript, and damage that inspect finds."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from vitjax import Error
from vitjax.cli import main
from vitjax.converters import files


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4000))


def same(bundle: files.Bundle, module: nn.Module) -> bool:
    state = module.state_dict()
    found = {name: np.asarray(tensor) for name, tensor in bundle.tensors.items()}
    return list(found) == list(state) and all(np.array_equal(found[name], state[name].numpy()) for name in state)


NET, EMA = network(0), network(1)


def trained() -> dict:
    """As a training script saves it: the optimizer has tensors, too."""
    adam = torch.optim.AdamW(NET.parameters())
    NET(torch.ones(2, 3)).sum().backward()
    adam.step()
    average = AveragedModel(EMA)
    return {"model": NET.state_dict(), "model_ema": average.state_dict(), "optimizer": adam.state_dict(), "epoch": 3}


@pytest.mark.parametrize("legacy", [False, True])
def test_a_training_checkpoint(legacy, caplog):
    torch.save(trained(), "x.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(files.Several, match="model_ema"):
        files.read("x.pth")
    with caplog.at_level("INFO", "vitjax"):
        bundle = files.read("x.pth", "model_ema")
    assert caplog.messages == ["reading model_ema of x.pth; also there: model"]
    assert same(bundle, EMA)
    assert (bundle.key, bundle.meta) == ("model_ema", {"epoch": 3})
    assert bundle.format == ("PyTorch stream" if legacy else "PyTorch zip")
    assert same(files.read("x.pth", "model"), NET)


def test_compiled_and_parallel():
    state = {f"module._orig_mod.{name}": tensor for name, tensor in NET.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"lr": 0.1}}, "x.ckpt")
    bundle = files.read("x.ckpt")
    assert same(bundle, NET)
    assert bundle.meta == {"hyper_parameters": {"lr": 0.1}}
    torch.save(dict(list(state.items())[:2]) | NET.state_dict(), "mixed.pth")
    with pytest.raises(Error, match="2 of 11 names begin with 'module"):
        files.read("mixed.pth")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript():
    torch.jit.script(NET).save("x.pt")
    bundle = files.read("x.pt")
    assert bundle.format == "TorchScript"
    assert same(bundle, NET)


def test_shards_of_pytorch():
    state = NET.state_dict()
    half = {name: f"pytorch_model-{1 + (n > 3)}.bin" for n, name in enumerate(state)}
    for shard in set(half.values()):
        torch.save({name: state[name] for name in state if half[name] == shard}, shard)
    with open("pytorch_model.bin.index.json", "w") as file:
        json.dump({"metadata": {"total_size": 1}, "weight_map": half}, file)
    bundle = files.read(".")
    assert bundle.format == "sharded PyTorch zip"
    assert same(bundle, NET)


def test_inspect(capsys):
    torch.save(trained(), "x.pth")
    assert main(["inspect", "x.pth", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["keys"] == ["model", "model_ema"]
    assert main(["inspect", "x.pth"]) == 0
    assert "model_ema (10 entries)" in capsys.readouterr().out
    assert main(["inspect", "x.pth", "--key", "model_ema", "--json"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["key"], err) == ("model_ema", "reading model_ema of x.pth; also there: model\n")


def test_inspect_finds_a_flipped_bit(capsys):
    torch.save(NET.state_dict(), "x.pth")
    with open("x.pth", "rb") as file:
        content = bytearray(file.read())
    content[content.index(NET[2].weight.detach().numpy().tobytes()) + 9] ^= 1
    with open("x.pth", "wb") as file:
        file.write(content)
    assert main(["inspect", "x.pth"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vitjax: x.pth: ") and "is damaged" in err
