"""The house stands: imports only look down, each library is used in its own rooms, no file is an attic, no pickle runs."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted([*ROOT.glob("vitjax/**/*.py"), *ROOT.glob("converters/**/*.py")])
EVERYWHERE = sorted([*LIBRARY, *ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")])

# From the ground up. A room may import from the rows below its own, and from no other.
SHOP_WINDOW = "vitjax"  # it names the rooms for type checkers, and imports one when something in it is asked for
STOREYS = [
    SHOP_WINDOW,
    "vitjax.values",
    "vitjax.networks",
    "vitjax.config",
    "vitjax.flops vitjax.hardware vitjax.mesh vitjax.vit_variants vitjax.weights vitjax.attention",
    "vitjax.preprocess vitjax.tokenizer vitjax.manifest vitjax.draft",
    "vitjax.pictures vitjax.rows vitjax.terminal vitjax.clip_variants vitjax.clip_weights vitjax.layers vitjax.leaves",
    "vitjax.arrays",
    "vitjax.orbax",
    "vitjax.variants",
    "vitjax.vit vitjax.attention_maps vitjax.cache vitjax.compute",
    "vitjax.clip",
    "vitjax.model vitjax.checkpoint vitjax.surgery",
    "vitjax.clip_model",
    "vitjax.verify vitjax.converters.stored",
    "vitjax.converters.json_file vitjax.converters.zip_file vitjax.converters.torch_names",
    "vitjax.converters.npz_file",
    "vitjax.converters.torch_values",
    "vitjax.converters.torch_pickle",
    "vitjax.converters.torch_legacy",
    "vitjax.converters.torch_file",
    "vitjax.converters.safetensors_file vitjax.converters.wrappers",
    "vitjax.converters.files",
    "vitjax.converters.mapping",
    "vitjax.converters.dialect",
    "vitjax.converters.huggingface_pictures vitjax.converters.google_trees vitjax.converters.open_clip_inputs",
    "vitjax.converters.timm_arguments",
    "vitjax.converters.timm_settings vitjax.converters.birder_settings vitjax.converters.huggingface_settings",
    "vitjax.converters.huggingface_clip_settings",
    "vitjax.converters.huggingface_clip",
    "vitjax.converters.timm vitjax.converters.huggingface",
    "vitjax.converters.open_clip_settings",
    "vitjax.converters.birder vitjax.converters.google vitjax.converters.open_clip",
    "vitjax.converters.eva",
    "vitjax.converters.identify",
    "vitjax.converters",
    "vitjax.download vitjax.contents",
    "vitjax.hub vitjax.features",
    "vitjax.catalogue vitjax.checkpoint_commands vitjax.picture_commands vitjax.doctor",
    "vitjax.train.evaluate vitjax.train.record vitjax.train.curve vitjax.train.hlo vitjax.train.slices",
    "vitjax.train.recipe",
    "vitjax.train.augment vitjax.train.data.randaugment vitjax.train.data.examples",
    "vitjax.train.data.folders vitjax.train.data.array_records vitjax.train.data.hf_datasets",
    "vitjax.train.data.crops vitjax.train.data.batches",
    "vitjax.train.data vitjax.train.data.pipeline",
    "vitjax.train.data.pack",
    "vitjax.data_commands",
    "vitjax.train.results",
    "vitjax.train.journal vitjax.train.distributed vitjax.train.stop vitjax.train.network vitjax.train.learned",
    "vitjax.train.optimizer",
    "vitjax.train.step",
    "vitjax.train.saves vitjax.train.held_out vitjax.train.compiled",
    "vitjax.train.plan",
    "vitjax.train.loop",
    "vitjax.train",
    "vitjax.train.__main__ vitjax.cli",
]
STOREY = {room: number for number, row in enumerate(STOREYS) for room in row.split()}

# What may be imported in some files only. Of several that match, the longest counts.
NETWORKS = [*(f"vitjax/{name}.py" for name in ("layers", "vit", "clip", "compute", "model")), "tests/*"]
REFERENCE = ["tests/reference/*", "benchmarks/*"]
ONLY = {
    "flax": NETWORKS,
    # nested dicts to paths and back: no networks
    "flax.traverse_util": [*NETWORKS, "vitjax/checkpoint.py", "vitjax/train/*", "converters/__init__.py"],
    **{name: REFERENCE for name in ("torch", "torchvision", "timm", "transformers", "birder", "open_clip")},
    **{name: [] for name in ("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib")},
}
LINES, TABLES = 320, ["vitjax/vit_variants.py", "vitjax/weights.py"]


def where(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def room(file: Path) -> str:
    """The module that a file of the library is: converters/ is linked as vitjax.converters."""
    path = where(file.with_suffix("")).removesuffix("/__init__")
    return path.replace("converters", "vitjax.converters", 1).replace("/", ".")


def imports(file: Path) -> Iterator[str]:
    """Every import, as package.module.name; those in functions and under TYPE_CHECKING among them."""
    package = room(file).split(".")[: None if file.name == "__init__.py" else -1]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield from (".".join([*base, *filter(None, [node.module]), alias.name]) for alias in node.names)


def longest(name: str, known: Iterable[str]) -> str | None:
    """Of `known`, the innermost package that `name` is, or is in."""
    return max((k for k in known if f"{name}.".startswith(f"{k}.")), key=len, default=None)


@pytest.mark.parametrize("file", [file for file in LIBRARY if room(file) != SHOP_WINDOW], ids=where)
def test_imports_only_look_down(file):
    assert room(file) in STOREY, "a new room: give it a storey"
    assert not [name for name in imports(file) if (other := longest(name, STOREY)) and STOREY[other] >= STOREY[room(file)]]


@pytest.mark.parametrize("file", EVERYWHERE, ids=where)
def test_each_library_in_its_own_rooms(file):
    assert not [
        name for name in imports(file) if (key := longest(name, ONLY)) and not any(fnmatch(where(file), g) for g in ONLY[key])
    ]


@pytest.mark.parametrize("file", LIBRARY, ids=where)
def test_a_file_can_be_read_in_one_sitting(file):
    assert where(file) in TABLES or len(file.read_text().splitlines()) <= LINES


@pytest.mark.parametrize("file", EVERYWHERE, ids=where)
def test_no_array_file_may_hold_objects(file):
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False


def test_names_and_tables_come_without_jax():
    code = "import vitjax, vitjax.variants, vitjax.cli, sys; sys.exit(bool({'jax', 'flax', 'numpy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


IMPORTS = {  # as in vitjax/train/loop.py
    "import vitjax.hub as h": "vitjax.hub",
    "from vitjax import hub": "vitjax.hub",
    "from . import data": "vitjax.train.data",
    "from .data import read": "vitjax.train.data.read",
    "from .. import hub": "vitjax.hub",
    "from ..hub import load": "vitjax.hub.load",
    "if TYPE_CHECKING:\n    from ..hub import load": "vitjax.hub.load",
    "def f():\n    from ..hub import load": "vitjax.hub.load",
}


@pytest.mark.parametrize("line", IMPORTS)
def test_no_import_escapes(line, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / "vitjax" / "train" / "loop.py"
    file.parent.mkdir(parents=True)
    file.write_text(line)
    assert list(imports(file)) == [IMPORTS[line]]
