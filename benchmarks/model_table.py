"""The README's table of models, from the library's tables and what `make parity` measured.

    python -m benchmarks.model_table          # writes it into README.md

Every model is in `vitjax list --pretrained`, and on the site's page of models.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from vitjax import variants
from vitjax.config import hw

ROOT = Path(__file__).parents[1]
README, MEASURED = ROOT / "README.md", ROOT / "benchmarks/results/parity.json"
VERSIONS = ROOT / "tests/reference/requirements.txt"
PLACE = re.compile(r"(?<=<!-- models: make parity -->\n).*?(?=<!-- end of models -->)", re.DOTALL)

PACKAGES = {"parity": "timm", "huggingface": "transformers", "birder": "birder", "open_clip": "open_clip_torch"}  # by test file

# A published model, and the test that measures its network: at full size where there is one, or else a small one of its family.
# fmt: off
MODELS = {
    "vit_base_patch16_384.augreg_in21k_ft_in1k":          "test_parity.py::test_full_size[vit_base_patch16_384]",
    "vit_large_patch14_clip_224.openai_ft_in12k_in1k":    "test_parity.py::test_every_stage[timm_clip]",
    "eva_giant_patch14_224.clip_ft_in1k":                 "test_parity.py::test_full_size[eva_giant_patch14_224]",
    "google/vit-large-patch16-224":                       "test_huggingface.py::test_full_size",
    "vit_l14_pn_quick_gelu_openai-clip":                  "test_birder.py::test_the_published_clip_encoder",
    "clip_vit_large_patch14_224.openai":                  "test_open_clip.py::test_full_size",
    "eva02_large_patch14_448.mim_m38m_ft_in22k_in1k":     "test_parity.py::test_full_size[eva02_large_patch14_448]",
    "clip_vit_base_patch32_224.laion2b_s34b_b79k":        "test_open_clip.py::test_every_stage[open_clip_gelu]",
    "siglip_vit_base_patch16_224.webli":                  "test_open_clip.py::test_every_stage[open_clip_siglip]",
    "facebook/dinov2-base":                               "test_huggingface.py::test_every_stage[hf_dinov2]",
    "vit_large_patch14_reg4_dinov2.lvd142m":              "test_parity.py::test_every_stage[timm_dinov2_reg4]",
    "deit3_base_patch16_224.fb_in22k_ft_in1k":            "test_parity.py::test_every_stage[timm_deit3]",
    "flexivit_base.1200ep_in1k":                          "test_parity.py::test_every_stage[timm_flexivit]",
}
# fmt: on


def table() -> str:
    """The table, as Markdown."""
    measured, versions = (
        json.loads(MEASURED.read_text())["tests"],
        dict(re.findall(r"^([\w-]+)==(.+)$", VERSIONS.read_text(), re.M)),
    )
    rows = ["| model | parameters | image | reference | measured |", "|---|---:|---:|---|---:|"]
    for name, test in MODELS.items():
        spec = variants.spec(name)
        height, width = hw(spec.preprocess.size)
        package = PACKAGES[test.partition(".py")[0].removeprefix("test_")]
        reference = f"{package.removesuffix('_torch')} {versions[package]}"
        size = "" if "full_size" in test or "published" in test else " (small network)"
        count = f"{variants.parameters(spec.config) / 1e6:,.1f} M"
        rows.append(f"| `{name}` | {count} | {height} x {width} | {reference} | {measured[test]:.1e}{size} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    README.write_text(PLACE.sub(table().replace("\\", r"\\"), README.read_text(encoding="utf-8")), encoding="utf-8")
