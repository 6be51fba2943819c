"""What the README shows is what happens: its code runs, its commands are parsed and those that need no network run."""

import re
import shlex
from pathlib import Path

import pytest

from benchmarks.model_table import PLACE, table
from tests import markdown
from vitjax import cli, variants
from vitjax.train import recipe

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
README = PAGE.read_text(encoding="utf-8")
COMMANDS = [block for block in markdown.blocks(PAGE, "") if re.match(r"(make|pip|python|vitjax) ", block.code)]
OWN = {"last.pth.tar", "demo/ours", "demo/digits"}  # files and folders of the reader's, or written by the line above


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """A place like a clone, in which what the README writes disturbs nobody."""
    for name in "vitjax", "tests":
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_python_block_says_what_happens(clone):
    page = markdown.blocks(PAGE)
    assert [bool(block.needs) for block in page] == [False, True]
    markdown.run(page)
    lines = [line for line in page[0].code.splitlines() if line]
    assert len(lines) <= 12 and sum("print(" in line and "#" in line for line in lines) == 6


def lines(block: markdown.Block) -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in block.code.splitlines() if line.strip()]


@pytest.mark.parametrize("block", COMMANDS, ids=[f"line {block.line}" for block in COMMANDS])
def test_every_command_is_one(block, clone):
    for program, *words in lines(block):
        match program, words:
            case "make", [target]:
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
            case "pip", ["install", what, *others]:
                assert set(others) <= {"scikit-learn"}  # for the recipe of the line below
                extra = re.fullmatch(r"\.\[(\w+)\]", what)
                assert extra and re.search(rf"^{extra[1]} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE), what
            case "python", ["-m", "vitjax.train", name, *overrides]:
                recipe.read(name, [word for word in overrides if "=" in word])
            case "vitjax", _:
                args = cli._parser().parse_args(words)
                for name in {vars(args).get(key) for key in ("model", "variant", "src")} - {None} - OWN:
                    variants.spec(name)
            case _:
                raise AssertionError(f"{program} is in no README of ours")


def test_commands_that_need_no_network_work(clone, capsys):
    """In their order, for one takes what another wrote."""
    ran = 0
    for block in COMMANDS:
        for program, *words in lines(block):
            if program == "vitjax" and not block.needs:
                found = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in words]
                assert cli.main([word for several in found for word in several]) == 0, (words, capsys.readouterr().err)
                ran += 1
    assert ran == 8


def test_numbers_are_the_tables():
    ours = 1  # vit_pico_patch4_32, which nobody else has
    models, published = len(variants.VARIANTS) - ours, len(variants.WEIGHTS) - ours
    said = " ".join(README.split())
    assert f"{models} architectures and {published} published" in said
    assert f"shows all {published}," in said


def test_the_table_of_models_is_current():
    assert PLACE.findall(README) == [table()]  # else: python -m benchmarks.model_table


def test_links_lead_somewhere():
    missing = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not (ROOT / link).exists()]
    assert not missing
