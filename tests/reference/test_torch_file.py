"""Live against torch: what torch.save writes in all its forms is read bit for bit, and torch reads our hand-made files alike."""

from __future__ import annotations

import argparse
import collections
import pathlib
import random
from typing import Any

import ml_dtypes
import numpy as np
import open_clip
import pytest
import safetensors.torch
import timm
import torch
from torch import nn
from transformers import ViTConfig, ViTForImageClassification

from tests import torch_files
from tests.reference.make_birder import SIZES
from tests.reference.make_birder import build as build_birder
from tests.torch_files import pickled, saved, storage, stream, tensor
from vitjax import Error
from vitjax.converters.stored import Stored
from vitjax.converters.torch_file import read
from vitjax.converters.torch_values import Opaque

FORMS = [
    *({"pickle_protocol": protocol} for protocol in (2, 3, 4, 5)),
    *({"pickle_protocol": protocol, "_use_new_zipfile_serialization": False} for protocol in (2, 3, 4, 5)),
]


def array(tensor: torch.Tensor) -> np.ndarray:
    """torch's own numbers, through the one type that both libraries have for numbers of that size."""
    tensor = tensor.detach().resolve_neg().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def assert_same(ours: Any, theirs: Any, where: str = "") -> None:
    """Of the same kind, keys and order; tensors to the last bit."""
    match theirs:
        case torch.Tensor():
            assert isinstance(ours, Stored), where
            mine, wanted = np.asarray(ours), array(theirs)
            assert (mine.dtype, mine.shape, mine.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes()), where
            assert (ours.dtype, ours.shape) == (wanted.dtype, wanted.shape), where
        case dict():
            assert list(ours) == list(theirs), where
            for key in theirs:
                assert_same(ours[key], theirs[key], f"{where}.{key}")
        case list() | tuple() | set():
            assert type(ours) is (tuple if isinstance(theirs, tuple) else list) and len(ours) == len(theirs), where
            for index, (mine, wanted) in enumerate(zip(ours, theirs, strict=True)):
                assert_same(mine, wanted, f"{where}.{index}")
        case None | bool() | int() | str() | bytes():
            assert type(ours) is type(theirs) and ours == theirs, where
        case float() if type(theirs) is float:
            assert ours == theirs, where
        case _:
            assert isinstance(ours, Opaque), (where, ours)


SIX = torch.arange(1.0, 7).reshape(2, 3)
SHARED = torch.randn(40, generator=torch.manual_seed(0))
DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8),
]
EVERY = {
    **{str(dtype): torch.randint(0, 2 if dtype == torch.bool else 100, (3, 5)).to(dtype) for dtype in DTYPES},
    "plain": SIX,
    "tied": SIX,
    "sliced": SHARED[3:9],
    "strided": SHARED[::7],
    "transposed": SIX.T,
    "expanded": SIX[:1].expand(9, 3),
    "windows": SHARED.unfold(0, 5, 2),
    "permuted": torch.randn(2, 3, 4, 5).permute(3, 1, 0, 2),
    "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "a number": torch.tensor(2.5),
    "of a slice": SHARED[7],
    "empty": torch.empty(0),
    "empty of 3": torch.empty(0, 3, dtype=torch.int32),
    "negated": torch._neg_view(SIX),
    "negated and transposed": torch._neg_view(SIX.T),
    "an imaginary part": torch.tensor([1 + 2j, 3 - 4j]).conj().imag,
    "not finite": torch.tensor([float("nan"), float("inf"), -0.0]),
    "a parameter": nn.Parameter(SIX.clone()),
    "a frozen one": nn.Parameter(SIX.clone(), requires_grad=False),
    "a buffer": nn.Buffer(SIX.clone()),
}
EVERY["with attributes"] = nn.Parameter(SIX.clone())
EVERY["with attributes"].tag = "x"


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_tensor_in_every_form(form, tmp_path):
    torch.save(EVERY, tmp_path / "x.pt", **form)
    assert_same(read(tmp_path / "x.pt"), EVERY)


def network() -> nn.Module:
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, embed_dim=24, num_heads=3, num_classes=5, reg_tokens=2
    )


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_training_run(form, tmp_path):
    """What people's own loops save: every kind of thing beside the tensors, none of which may be in the way."""
    model = network()
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    whole = {
        "model": model.state_dict(),
        "model_ema": collections.OrderedDict((key, value * 0.5) for key, value in model.state_dict().items()),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": schedule.state_dict(),
        "args": argparse.Namespace(lr=1e-3, out=pathlib.PosixPath("runs/x"), betas=(0.9, 0.999), device=torch.device("cpu")),
        "epoch": 7,
        "best": np.float64(0.75),
        "accuracy": np.float32(0.5),
        "confusion": np.arange(4).reshape(2, 2),
        "rng": torch.get_rng_state(),
        "shape": torch.Size([2, 3]),
        "dtype": torch.float32,
        "where": torch.device("cpu"),
        "counts": collections.Counter("aab"),
        "history": collections.defaultdict(dict, {1: {"loss": 0.5}, 2: {}}),
        "labels": {"cat": 0, "hund": 1},
        "seen": {3},
        "big": 2**40,
        "long": [float(number) for number in range(3000)],
        "nothing": None,
    }
    if form["pickle_protocol"] == 5:
        del whole["confusion"]  # written as a bytearray then: not one of torch's opcodes
    torch.save(whole, tmp_path / "x.pth", **form)
    found = read(tmp_path / "x.pth")
    whole["shape"] = tuple(whole["shape"])
    assert_same(found, whole)


@pytest.mark.parametrize("seed", range(40))
def test_objects_drawn_at_random(seed, tmp_path):
    """Nested containers of views of shared storages, of every dtype, in a random form."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    pool = [torch.randint(0, 2 if dtype == torch.bool else 50, (rng.randint(1, 200),)).to(dtype) for dtype in DTYPES * 2]

    def view() -> torch.Tensor:
        base = rng.choice(pool)
        out = base[rng.randrange(len(base)) :: rng.randint(1, 3)]
        size = rng.randint(1, len(out))
        out = out[: len(out) // size * size].reshape(-1, size) if rng.random() < 0.6 else out
        out = out.T if out.ndim == 2 and rng.random() < 0.5 else out
        out = out[None].expand(rng.randint(1, 3), *out.shape) if rng.random() < 0.3 else out
        return nn.Parameter(out) if out.is_floating_point() and rng.random() < 0.3 else out

    def thing(depth: int) -> Any:
        kind = rng.random()
        if depth > 4 or kind < 0.5:
            return rng.choice([view, view, lambda: rng.randint(-(2**62), 2**62), rng.random, lambda: "é" * rng.randint(0, 300)])()
        items = [thing(depth + 1) for _ in range(rng.randint(0, 5))]
        if kind < 0.6:
            return items
        if kind < 0.7:
            return tuple(items)
        return rng.choice([dict, collections.OrderedDict])((f"key.{index}", item) for index, item in enumerate(items))

    whole = {"first": view(), "rest": thing(0)}
    torch.save(whole, tmp_path / "x.pt", **rng.choice(FORMS))
    assert_same(read(tmp_path / "x.pt"), whole)


class Nested(nn.Module):
    """Modules in modules, shared among them, in lists, with everything that TorchScript keeps beside tensors."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 4))
        self.blocks = nn.ModuleList([nn.MultiheadAttention(4, 2), nn.MultiheadAttention(4, 2)])
        self.again = self.first[0]
        self.norm = nn.BatchNorm1d(4)
        self.scale = nn.Parameter(torch.randn(4)[::2])
        self.sizes, self.rate, self.name = [1, 2], 0.5, "x"
        self.register_buffer("table", torch.randn(3, 4).T)

    def forward(self, x):
        return self.norm(self.first(x)) + self.again(x).sum() + self.scale.sum() + self.table.sum()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
def test_torchscript_is_the_models_state_dict(tmp_path):
    for compiled in (torch.jit.script(Nested().eval()), torch.jit.trace(network().eval(), torch.zeros(1, 3, 32, 32))):
        compiled.save(tmp_path / "x.pts")
        found, wanted = read(tmp_path / "x.pts"), compiled.state_dict()
        assert set(found) == set(wanted)
        assert_same({key: found[key] for key in wanted}, dict(wanted))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
def test_clip_as_openai_published_it(tmp_path):
    """A traced CLIP, whose big weights are float16 and whose norms are float32."""
    vision = open_clip.CLIPVisionCfg(layers=2, width=32, head_width=16, patch_size=8, image_size=32)
    words = open_clip.CLIPTextCfg(context_length=8, vocab_size=50, width=32, heads=2, layers=2)
    model = open_clip.CLIP(16, vision, words, quick_gelu=True).eval()
    open_clip.convert_weights_to_fp16(model)
    example = {"forward": (torch.zeros(1, 3, 32, 32).half(), torch.zeros(1, 8, dtype=torch.long))}
    compiled = torch.jit.trace_module(Tower(model), example, check_trace=False)
    compiled.save(tmp_path / "ViT-L-14.pt")
    found, wanted = read(tmp_path / "ViT-L-14.pt"), compiled.state_dict()
    assert set(found) == set(wanted) and {found[key].dtype.name for key in found} == {"float16", "float32"}
    assert_same({key: found[key] for key in wanted}, dict(wanted))


class Tower(nn.Module):
    def __init__(self, clip: nn.Module):
        super().__init__()
        self.clip = clip
        self.register_buffer("input_resolution", torch.tensor(32.0))

    def forward(self, image, text):
        return self.clip.encode_image(image), text


def models() -> dict[str, nn.Module]:
    return {
        "timm": network(),
        "transformers": ViTForImageClassification(
            ViTConfig(
                hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48, image_size=32, patch_size=8
            )
        ),
        "birder": build_birder("vit_reg4_b16", SIZES, 5, (16, 16)),
    }


@pytest.mark.parametrize("library", ["timm", "transformers", "birder"])
def test_a_librarys_model_equals_its_safetensors(library, tmp_path):
    state = models()[library].state_dict()
    safetensors.torch.save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "x.safetensors")
    wanted = safetensors.torch.load_file(tmp_path / "x.safetensors")
    for form in FORMS:
        torch.save(state, tmp_path / "x.bin", **form)
        found = read(tmp_path / "x.bin")
        assert set(found) == set(wanted)
        assert_same({key: found[key] for key in wanted}, wanted)


REFUSED = {
    "a whole model": (network, r"timm\.models\.vision_transformer\.VisionTransformer"),
    "sparse": (lambda: SIX.to_sparse(), "a sparse tensor"),
    "compressed": (lambda: SIX.to_sparse_csr(), "a sparse tensor"),
    "meta": (lambda: SIX.to("meta"), "meta device"),
    "nested": (lambda: torch.nested.nested_tensor([SIX, SIX]), "a nested tensor"),
    "complex": (lambda: SIX.to(torch.complex64), "Complex"),
    "conjugated": (lambda: SIX.to(torch.complex64).conj(), "Complex"),
    **{str(kind): (lambda kind=kind: SIX.to(kind), str(kind)) for kind in (torch.float8_e4m3fn, torch.float8_e5m2)},
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "stream"])
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_by_name(kind, form, tmp_path):
    make, name = REFUSED[kind]
    torch.save({"w": make()}, tmp_path / "x.pt", **form)
    with pytest.raises(Error, match=name):
        read(tmp_path / "x.pt")


PART = torch_files.tuple_(torch_files.text("9"), torch_files.number(2), torch_files.number(4))
HAND_MADE = {
    "zip": torch_files.ZIP,
    "stream": torch_files.STREAM,
    "big-endian": saved(torch_files.ONE, torch_files.SIX.astype(">f4").tobytes(), order="big"),
    "no byte order": saved(torch_files.ONE, torch_files.RAW, order=None),
    "a part of a legacy storage": stream(
        pickled(torch_files.dict_(("w", tensor(storage("0", "torch.FloatStorage", 6, PART), (3,), (1,), 1)))),
        ("0", 6, torch_files.RAW),
    ),
    **{
        f"wrapped {kind}": saved(pickled(torch_files.dict_(("w", tensor(storage(), (3, 2), (1, 3), 0, *more)))), torch_files.RAW)
        for kind, more in {"transposed": (), "negated": (torch_files.dict_(("neg", b"\x88")),)}.items()
    },
}


@pytest.mark.parametrize("kind", HAND_MADE)
def test_torch_reads_our_hand_made_files_as_we_do(kind, tmp_path):
    (tmp_path / "x.pt").write_bytes(HAND_MADE[kind])
    assert_same(read(tmp_path / "x.pt"), torch.load(tmp_path / "x.pt", weights_only=True))
