"""Pretrained ViT, CLIP and EVA encoders in JAX, with the numbers of the libraries that published them.

Everything is imported on first use, so that `vitjax --help` does not wait for JAX.
"""

import importlib

__version__ = "0.1.0"

_ROOMS = {
    "load": "hub",
    "create": "hub",
    "Model": "model",
    "list_models": "variants",
    "list_pretrained": "variants",
    "ViTConfig": "config",
    "Preprocess": "config",
    "Source": "config",
    "Spec": "config",
    "Error": "config",
}
__all__ = [*_ROOMS, "__version__"]


def __getattr__(name: str):
    if name not in _ROOMS:
        raise AttributeError(f"module 'vitjax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vitjax.{_ROOMS[name]}"), name)


def __dir__():
    return sorted(__all__)
