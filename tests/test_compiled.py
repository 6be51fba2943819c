"""What one command compiled, the next one takes from the cache folder; where that cannot be, it says so and goes on."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vitjax.train import __main__ as training

DIGIT = Path(__file__).parents[1] / "vitjax/pretrained/digits/3.png"
FOLDER = DIGIT.parents[1] / "vit_pico_patch4_32.digits"
COMPILED = "Persistent compilation cache hit for 'jit_apply'"


def classify(cache: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vitjax.cli", *words, "classify", str(DIGIT), "--model", "vit_pico_patch4_32", "--top", "1"]
    env = os.environ | {"VITJAX_CACHE": str(cache), "JAX_LOG_COMPILES": "1"} | env
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)


def test_the_second_command_compiles_nothing(tmp_path):
    first, second = classify(tmp_path), classify(tmp_path)
    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout and "3" in first.stdout
    assert COMPILED not in first.stderr and COMPILED in second.stderr


@pytest.mark.parametrize(("words", "env"), [(["--no-compilation-cache"], {}), ([], {"JAX_ENABLE_COMPILATION_CACHE": "0"})])
def test_off(words, env, tmp_path):
    assert classify(tmp_path, *words, **env).returncode == 0
    assert not (tmp_path / "compiled").exists()


def test_another_folder_by_jax_s_own_word(tmp_path):
    assert classify(tmp_path / "ours", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "theirs")).returncode == 0
    assert not (tmp_path / "ours").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no folder")
    found = classify(tmp_path / "file")
    assert found.returncode == 0 and "3" in found.stdout
    assert "compiled networks are not kept" in found.stderr and "Set VITJAX_CACHE" in found.stderr


def test_two_at_once(tmp_path):
    """Both write the same entries; the third finds them whole."""
    command = [sys.executable, "-m", "vitjax.cli", "classify", str(DIGIT), "--model", "vit_pico_patch4_32"]
    both = [subprocess.Popen(command, env=os.environ | {"VITJAX_CACHE": str(tmp_path)}, stdout=subprocess.PIPE) for _ in "ab"]
    said = [child.communicate(timeout=120)[0] for child in both]
    assert said[0] == said[1] and said[0]
    assert COMPILED in classify(tmp_path).stderr


@pytest.mark.parametrize(("words", "kept"), [([], [True]), (["--no-compilation-cache"], [])])
def test_training_keeps_it_too(words, kept, monkeypatch):
    seen: list[bool] = []
    monkeypatch.setattr(training, "keep_compiled", lambda: seen.append(True))
    monkeypatch.setattr(training, "run", lambda *_: SimpleNamespace(step=1, finished=False))
    assert training.main(["digits", *words]) == 0 and seen == kept


READS_ONLY = """
import sys
from vitjax import hub
hub.load(sys.argv[1])
late = {"orbax.checkpoint", "ftfy", "tokenizers", "huggingface_hub", "optax", "grain", "matplotlib", "vitjax.converters"}
print(*late & set(sys.modules))
"""


def test_loading_imports_only_what_it_needs():
    found = subprocess.run(
        [sys.executable, "-c", READS_ONLY, str(FOLDER)], capture_output=True, text=True, check=True, timeout=120
    )
    assert found.stdout.split() == []
