"""What a type checker tells a program that uses the package: names have types, and a wrong word is an error."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import vitjax

model: vitjax.Model = vitjax.load("vit_pico_patch4_32", dtype="bfloat16")
clip: vitjax.CLIP = vitjax.load("ViT-B/32")
x = model.preprocess(["3.png"])
reveal_type(model.embed(x))  # "Array"
reveal_type(model.spec.preprocess.crop)  # "float"
reveal_type(clip.tokenize("a cat"))  # "ndarray[
reveal_type(vitjax.list_models("vit_*"))  # "list[str]"
vitjax.load("vit_pico_patch4_32", dtyp="bfloat16")  # No parameter named "dtyp"
model.clasify(x)  # Cannot access attribute "clasify"
"""


def test_a_program_that_uses_it(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    # An editable install, which these tests run in, is found by a hook in Python that no type checker runs
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(Path(__file__).parents[1])]}))
    words = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "program.py"]
    said = json.loads(subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300).stdout)
    found = {item["range"]["start"]["line"]: item["message"] for item in said["generalDiagnostics"]}
    for number, line in enumerate(PROGRAM.splitlines()):
        code, _, wanted = line.partition("  # ")
        assert (wanted in found[number]) if wanted else number not in found, (code, found.get(number))
