"""The plan that notebook 04 makes of its own recipe, by the TPU compiler: it prints what stands below it. `make plan`."""

from pathlib import Path

import nbclient
import nbformat

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "04_fine_tune.ipynb"


def test_the_plan_is_what_the_notebook_shows(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    number = next(number for number, cell in enumerate(notebook.cells) if "plan(pod" in cell.source)
    printed = "".join(out.text for out in notebook.cells[number].outputs if out.get("name") == "stdout")
    assert f"```\n{printed}```" in notebook.cells[number + 1].source
