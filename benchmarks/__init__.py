"""Ours beside the reference libraries, measured in one run."""

import tests.reference  # noqa: F401  (makes timm importable beside a CPU torch)
