"""The notebooks as pages, with what their cells printed and drew.

    python -m docs.generate.notebooks    # executes them into build/notebooks; make docs does

Outputs are not in git, so a page of a notebook that was not executed here has its text and code only.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCES, EXECUTED = ROOT / "notebooks", ROOT / "build/notebooks"
PICTURES = {"image/png": "png", "image/jpeg": "jpg"}
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def execute() -> None:
    """Run each notebook that has changed since it was run last."""
    import nbclient
    import nbformat

    EXECUTED.mkdir(parents=True, exist_ok=True)
    for source in sorted(SOURCES.glob("*.ipynb")):
        out = EXECUTED / source.name
        if out.exists() and out.stat().st_mtime > source.stat().st_mtime:
            continue
        notebook = nbformat.read(source, as_version=4)
        nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(SOURCES)}}).execute()
        nbformat.write(notebook, out)
        print(f"executed {source.name}")


def pages() -> dict[str, str | bytes]:
    """The files of the site that the notebooks give: an index, a page for each, and the pictures of their outputs."""
    files: dict[str, str | bytes] = {}
    index = [
        "# Notebooks",
        "",
        "They run on a laptop without a network, on the model in the package and on small ones made on the spot; a switch at the "
        "top of each takes a published one instead. The files are in `notebooks/`.",
        "",
    ]
    for source in sorted(SOURCES.glob("*.ipynb")):
        executed = EXECUTED / source.name
        notebook = json.loads((executed if executed.exists() else source).read_text(encoding="utf-8"))
        text = _page(notebook, source.stem, files)
        files[f"notebooks/{source.stem}.md"] = text
        title, about = _title(text, source.stem)
        index.append(f"- [{title}](notebooks/{source.stem}.md): {about}" if about else f"- [{title}](notebooks/{source.stem}.md)")
    return files | {"notebooks.md": "\n".join(index) + "\n"}


def _title(text: str, name: str) -> tuple[str, str]:
    heading = re.search(r"^# (.+)$", text, re.MULTILINE)
    after = re.search(r"\S[^\n]*(?:\n[^\n]+)*", text[heading.end() :]) if heading else None
    about = " ".join(after[0].split()) if after and after[0][0] not in "#`<!" else ""
    return (heading[1] if heading else name), re.split(r"(?<=[.:])\s", about)[0].rstrip(":")


def _page(notebook: dict[str, Any], name: str, files: dict[str, str | bytes]) -> str:
    parts = []
    for number, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"]).rstrip()
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif cell["cell_type"] == "code" and source:
            parts.append(f"```python\n{source}\n```")
            parts += [
                shown for n, out in enumerate(cell.get("outputs", ())) if (shown := _output(out, f"{name}_{number}_{n}", files))
            ]
    return "\n\n".join(parts) + "\n"


def _output(out: dict[str, Any], name: str, files: dict[str, str | bytes]) -> str:
    """An output as Markdown: a picture, or what was printed."""
    data = out.get("data", {})
    for kind, suffix in PICTURES.items():
        if kind in data:
            files[f"notebooks/{name}.{suffix}"] = base64.b64decode("".join(data[kind]))
            return f"![What this cell draws]({name}.{suffix})"
    if "text/html" in data and "<table" in (html := "".join(data["text/html"])):
        return f'<div class="output">{html}</div>'
    text = ANSI.sub("", "".join(out.get("text", data.get("text/plain", "")))).rstrip()
    return f"```{{.text .output}}\n{text}\n```" if text and out.get("name") != "stderr" else ""


if __name__ == "__main__":
    execute()
