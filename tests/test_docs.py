"""The pages of docs/ say what happens: their code runs, their commands and links exist, their tables are the library's."""

import shlex
import shutil
from pathlib import Path

import pytest

from docs.generate import errors, include, recipes
from vitjax import cli
from vitjax.train import recipe

from . import markdown

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if not path.name.startswith("from_")]  # those: tests/reference

PAGE = """# A page

```python
import vitjax

model = vitjax.load("vit_pico_patch4_32")
model(model.preprocess("{path}")).shape  # (1, 10) logits
x = model.preprocess("{path}")  # (1, 32, 32, 3) float32
print(model.spec.name)  # vit_pico_...
```

!!! note

    <!-- needs: network -->
    ```python
    model = vitjax.load("vit_base_patch16_384", classes=10)
    model.embed(x)
    ```
"""
DIGIT = ROOT / "vitjax/pretrained/digits/3.png"


def page(tmp_path, text: str) -> list[markdown.Block]:
    (file := tmp_path / "page.md").write_text(text.replace("{path}", str(DIGIT)))
    return markdown.blocks(file)


def test_a_page_runs_from_its_first_block_to_its_last(tmp_path):
    first, second = blocks = page(tmp_path, PAGE)
    assert (first.line, first.needs, second.line, second.needs) == (4, frozenset(), 16, frozenset({"network"}))
    assert markdown.run(blocks)["x"].shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("(1, 10) logits", "(1, 11) logits"),
        ("(1, 32, 32, 3) float32", "(1, 32, 32) float32"),
        ("vit_pico_...", "vit_tiny_..."),
        ("vit_base_patch16_384", "vit_base_patch16_385"),
        ("vitjax.load", "vitjax.laod"),
        ("vitjax.load", "vitjax.embed"),
        ("classes=10", "klasses=10"),
        ("model.embed(x)", "model.embedding(x)"),
        ("model.embed(x)", "model.embed(x"),
        ("model.embed(x)", "from vitjax.hub import lode"),
    ],
)
def test_a_page_that_lies_is_found_out(right, wrong, tmp_path):
    assert right in PAGE
    with pytest.raises((AssertionError, AttributeError, TypeError, SyntaxError, markdown.vitjax.Error)):
        markdown.run(page(tmp_path, PAGE.replace(right, wrong)))


def named(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_the_code_of_every_page_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(DIGIT, "photo.jpg")  # whatever its name, its bytes say what it is
    markdown.run(markdown.blocks(path))


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_the_commands_of_every_page_are_commands(path):
    for block in markdown.blocks(path, ""):
        for line in block.code.splitlines():
            match shlex.split(line, comments=True):
                case ["vitjax", *words]:
                    cli._parser().parse_args(words)
                case ["python", "-m", "vitjax.train", name, *words]:
                    recipe.read(name, [word for word in words if "=" in word])


def test_every_section_of_fine_tuning_has_a_place():
    pages = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    text = (ROOT / "vitjax/train/README.md").read_text(encoding="utf-8")
    assert not [name for name in include.sections(text) if f"<!-- include: vitjax/train/README.md#{name} -->" not in pages]


def test_what_is_included_is_there_and_links_lead_somewhere():
    for path in PAGES:
        text, files = include.expand(path.read_text(encoding="utf-8"), path.relative_to(DOCS).as_posix())
        assert "<!-- include:" not in text and all((ROOT / file).is_file() for file in files)
    with pytest.raises(ValueError, match="0 sections are called 'Nothing'"):
        include.expand("<!-- include: README.md#Nothing -->", "index.md")


def test_every_recipe_has_a_card():
    for card in recipes.cards():
        assert card.what and card.result and card.commands[0].startswith(f"python -m vitjax.train {card.name} "), card


def test_every_error_says_what_to_do():
    said = [message for message in errors.messages() if message.kind == "Error" and not message.inside]
    assert len(said) > 300 and not [(message.room, message.line, message.text) for message in said if not message.complete]


def test_every_error_has_a_place_on_the_page():
    assert not {message.room for message in errors.messages() if errors.chapter_of(message) is None}


@pytest.mark.parametrize(
    "code, complete",
    [
        ("Error(f'{path} is empty: download it again')", True),
        ("Error(f'{size} is not supported: only {known}')", True),
        ("Error(f'{path}: {error}')", True),  # which says it
        ("Error(f'{path} is empty')", False),
        ("Error(f'{path} has {give} numbers')", False),  # a name is no instruction
        ("Error('torch.save did not write that')", False),
    ],
)
def test_an_error_without_a_next_step_is_found_out(code, complete, tmp_path):
    (tmp_path / "vitjax").mkdir()
    (tmp_path / "vitjax/room.py").write_text(f"raise {code}")
    (message,) = errors.messages(tmp_path)
    assert message.complete is complete
