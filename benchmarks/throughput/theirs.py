"""Their side: timm's network or open_clip's text tower, with the weights that ours gets. Without torch there is none."""

from __future__ import annotations

import importlib.util
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from .clock import Run
from .ours import TEXT

PLAIN = "not-fused"


def missing(library: str) -> str | None:
    """Why there is nothing to compare with; None if there is torch and the library."""
    names = [name for name in ("torch", library) if importlib.util.find_spec(name) is None]
    if names:
        return f"{' and '.join(names)} not installed"
    try:
        import torchvision  # noqa: F401  (timm and open_clip import it)
    except RuntimeError:  # its operators do not fit a CPU build of torch; what is needed of it does without them
        import tests.reference  # noqa: F401
    return None


def device(platform: str) -> str | None:
    """torch's name of the device that JAX uses; None if this torch does not have it."""
    import torch

    return "cpu" if platform == "cpu" else "cuda" if platform == "gpu" and torch.cuda.is_available() else None


def create(name: str, folder: Path) -> Any:
    """A network with random weights, which are written into a folder that vitjax.load reads."""
    import torch

    torch.manual_seed(0)
    if name.endswith(TEXT):
        return _text(name.removesuffix(TEXT), folder)
    import timm
    from timm.models._hub import save_for_hf

    network = timm.create_model(name).eval()
    save_for_hf(network, str(folder), safe_serialization=True)
    return network


def _text(name: str, folder: Path) -> Any:
    """open_clip's text tower. Its image tower is not wanted, and has one block."""
    import open_clip
    from open_clip.factory import get_model_config
    from safetensors.torch import save_file
    from torch import nn

    from vitjax.clip_variants import OPEN_CLIP

    theirs = next(key for key, ours in OPEN_CLIP.items() if ours == name)
    config: Any = get_model_config(theirs)
    config["vision_cfg"] |= {"layers": 1}
    clip = open_clip.CLIP(**config).eval()
    save_file({key: tensor.contiguous() for key, tensor in clip.state_dict().items()}, folder / "open_clip_model.safetensors")
    look = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": look}))

    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.clip = clip
            del clip.visual

        def forward(self, ids: Any) -> Any:
            return self.clip.encode_text(ids)

    return Text().eval()


def given(x: np.ndarray, where: str, dtype: str) -> Any:
    """What ours is given as torch has it: pictures with channels first, texts as they are."""
    import torch

    tensor = torch.from_numpy(x).to(where)
    return tensor.permute(0, 3, 1, 2).contiguous().to(getattr(torch, dtype)) if x.ndim == 4 else tensor.long()


def outputs(network: Any, x: Any) -> np.ndarray:
    import torch

    with torch.inference_mode():
        return network(x).float().cpu().numpy()


def features(network: Any, x: Any) -> np.ndarray:
    """Pooled features, as `ours.features` has them."""
    import torch

    with torch.inference_mode():
        if hasattr(network, "forward_head"):  # timm's
            return network.forward_head(network.forward_features(x), pre_logits=True).float().cpu().numpy()
        return network(x).float().cpu().numpy()


def fuse(network: Any, yes: bool) -> bool:
    """timm's attention by torch's scaled_dot_product_attention, or by products and a softmax. False: it has no such choice."""
    layers = [layer for layer in network.modules() if hasattr(layer, "fused_attn")]
    for layer in layers:
        layer.fused_attn = yes
    return bool(layers)


def inference(network: Any, x: Any, fused: bool = True) -> Run:
    import torch

    def run(count: int) -> None:
        fuse(network, fused)
        with torch.inference_mode():
            for _ in range(count):
                network(x)
        _wait(x)

    return run


def training(network: Any, x: Any, classes: int, dtype: str) -> Run:
    """Steps with AdamW and cross entropy; in bfloat16 through autocast, parameters staying float32."""
    import torch

    where = x.device.type
    labels = torch.randint(classes, (len(x),), device=where)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, weight_decay=0.05, fused=where == "cuda")

    def run(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(where, torch.bfloat16) if dtype == "bfloat16" else nullcontext():
                loss = torch.nn.functional.cross_entropy(network(x), labels)
            loss.backward()
            optimizer.step()
        _wait(x)

    return run


def compiled(network: Any) -> Any:
    """Through torch.compile, for one shape at a time."""
    import torch

    torch._dynamo.reset()
    return torch.compile(network, dynamic=False)


def most_memory(where: str | None, begin: bool = False) -> float | None:
    """The most bytes that torch had on a GPU since `begin`; on a CPU nobody counts."""
    if where != "cuda":
        return None
    import torch

    torch.cuda.empty_cache()
    if begin:
        torch.cuda.reset_peak_memory_stats()
    return torch.cuda.max_memory_allocated()


def _wait(x: Any) -> None:
    import torch

    if x.device.type == "cuda":
        torch.cuda.synchronize()
