"""The pages of docs/ say what happens: their code runs, their commands and links exist, their tables are the library's."""

from pathlib import Path

import pytest

from . import markdown

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
DIGIT = Path(__file__).parents[1] / "vitjax/pretrained/digits/3.png"


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
