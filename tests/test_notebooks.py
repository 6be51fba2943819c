"""The notebooks run from top to bottom as they are in git, without a network, and without a warning."""

import ast
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
SWITCH = "PUBLISHED = False"
STRICT = "import warnings\nwarnings.simplefilter('error')"
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_all_five_are_here():
    assert [path.name[:3] for path in NOTEBOOKS] == ["01_", "02_", "03_", "04_", "05_"]


@notebooks
def test_as_it_is_in_git(path):
    """No outputs, one switch at the top, nothing of the machine it was written on, and a way on."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None)
    cells = code(path)
    assert SWITCH in cells[0].splitlines() and sum(SWITCH in source for source in cells) == 1
    assert any("PUBLISHED" in source for source in cells[1:]), "a switch that switches nothing"
    texts = [node.value for node in ast.walk(tree(cells)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not [text for text in texts if text[:1] == "~" or (text[:1] == "/" and text.count("/") > 1)]
    assert len(cells) <= 12
    assert "## Where to go next" in notebook.cells[-1].source


def tree(cells: list[str]) -> ast.Module:
    return ast.parse("\n".join(cells))


@notebooks
def test_runs(path, tmp_path, monkeypatch):
    """Somewhere else than where it lies, in a kernel that knows nothing of these tests, and where a warning is an error."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(1, nbformat.v4.new_code_cell(STRICT))
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(elsewhere)}}).execute()
    assert [*elsewhere.iterdir()] == []
    assert any("image/png" in out.get("data", {}) for cell in notebook.cells for out in cell.get("outputs", ()))
