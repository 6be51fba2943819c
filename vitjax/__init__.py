"""Pretrained ViT, CLIP and EVA encoders in JAX, with the numbers of the libraries that published them.

Everything is imported on first use, so that `vitjax --help` does not wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers, which do not run __getattr__
    from .clip_model import CLIP, Classifier, TextModel
    from .config import CLIPConfig, Error, Preprocess, Source, Spec, TextConfig, Tokenize, ViTConfig
    from .hub import create, load
    from .model import Model
    from .variants import list_models, list_pretrained

__version__ = "0.1.0"

_ROOMS = {  # where each name lives
    "load": "hub",
    "create": "hub",
    "Model": "model",
    "CLIP": "clip_model",
    "TextModel": "clip_model",
    "Classifier": "clip_model",
    "list_models": "variants",
    "list_pretrained": "variants",
    "ViTConfig": "config",
    "TextConfig": "config",
    "CLIPConfig": "config",
    "Tokenize": "config",
    "Preprocess": "config",
    "Source": "config",
    "Spec": "config",
    "Error": "config",
}
__all__ = [
    "CLIP",
    "CLIPConfig",
    "Classifier",
    "Error",
    "Model",
    "Preprocess",
    "Source",
    "Spec",
    "TextConfig",
    "TextModel",
    "Tokenize",
    "ViTConfig",
    "__version__",
    "create",
    "list_models",
    "list_pretrained",
    "load",
]


def __getattr__(name: str):
    if name not in _ROOMS:
        raise AttributeError(f"module 'vitjax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vitjax.{_ROOMS[name]}"), name)


def __dir__():
    return sorted(__all__)
