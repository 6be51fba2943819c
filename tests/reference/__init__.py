"""The reference libraries: the only place that imports torch and timm.

torchvision's compiled operators do not load beside a CPU build of torch, and timm imports torchvision. Its Python part
only needs the operators' names to exist, so they are declared here, before anything imports it.
"""

import importlib.util
import re
from pathlib import Path

import torch

_spec = importlib.util.find_spec("torchvision")
assert _spec is not None and _spec.origin is not None, "install tests/reference/requirements.txt"
_source = (Path(_spec.origin).parent / "_meta_registrations.py").read_text()
_library = torch.library.Library("torchvision", "DEF")
for _name in sorted(set(re.findall(r'register_fake\("torchvision::(\w+)"', _source))):
    _library.define(f"{_name}(Tensor a) -> Tensor")
