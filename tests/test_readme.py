"""What the README shows is what happens."""

import re
from pathlib import Path

from vitjax import variants

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_first_example_prints_what_it_says(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    names: dict[str, object] = {}
    shown = 0
    for line in example.splitlines():
        code, _, said = line.partition("#")
        if ".shape" in code:
            assert said.strip().startswith(str(eval(code, names))), line
            shown += 1
        elif "classify" in code:
            assert eval(code, names)[0][0] == "3"
        else:
            exec(code, names)
    assert shown == 4


def test_the_numbers_of_models_are_the_tables():
    ours = 1  # vit_pico_patch4_32, which nobody else has
    models, published = len(variants.VARIANTS) - ours, len(variants.WEIGHTS) - ours
    assert f"{models} architectures and {published} published" in " ".join(README.split())
