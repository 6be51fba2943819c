# make demo | test | check | docs | reference | plan | tpu | fixtures | parity | bench | fuzz. Needs git, make and Python >= 3.11; everything goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REF := .venv-reference
TPU := .venv-tpu
export JAX_PLATFORMS ?= cpu
# pip's own downloads are retried: a registry may hesitate
PIP := -m pip install --quiet --disable-pip-version-check --retries 10

.PHONY: demo test check docs site reference plan tpu fixtures parity bench fuzz wheel clean

$(BIN)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "vitjax needs Python 3.11 or newer: make PYTHON=python3.12"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --editable '.[dev]'
	touch $@

demo: $(BIN)/.ready
	rm -rf demo
	$(BIN)/vitjax export vit_pico_patch4_32.digits demo/timm --dialect timm
	$(BIN)/vitjax convert demo/timm demo/orbax
	$(BIN)/vitjax verify demo/orbax tests/fixtures/digits_by_timm.npz
	$(BIN)/vitjax classify vitjax/pretrained/digits/*.png --model demo/orbax --top 3

test: $(BIN)/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile tests

check: $(BIN)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# The site, into site/: the notebooks executed, links and anchors strict. make site leaves the notebooks as they were executed last
docs: $(BIN)/.docs-ready
	$(BIN)/python -m docs.generate.notebooks
	$(MAKE) site

site: $(BIN)/.docs-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

$(BIN)/.docs-ready: $(BIN)/.ready
	$(BIN)/python $(PIP) --editable '.[docs]'
	touch $@

# The reference libraries beside jax, in an environment of their own. torchvision comes without its dependencies: tests/reference
$(REF)/bin/.ready: pyproject.toml tests/reference/requirements.txt
	$(PYTHON) -m venv $(REF)
	$(REF)/bin/python $(PIP) $$(grep ^torch== tests/reference/requirements.txt)
	$(REF)/bin/python $(PIP) --no-deps $$(grep ^torchvision== tests/reference/requirements.txt)
	$(REF)/bin/python $(PIP) $$(grep -E '^(timm|transformers|birder|open_clip_torch|sentencepiece|protobuf)' tests/reference/requirements.txt) --editable '.[dev]'
	touch $@

reference: $(REF)/bin/.ready
	$(REF)/bin/python -m pytest -n 2 --dist loadfile tests/reference

# every recipe compiled for TPUs that are not here, by their own compiler
$(TPU)/bin/.ready: pyproject.toml
	$(PYTHON) -m venv $(TPU)
	$(TPU)/bin/python $(PIP) --editable '.[dev,tpu]'
	touch $@

plan: $(TPU)/bin/.ready
	$(TPU)/bin/python -m pytest tests/tpu

# what the TPU compiler expects of every network of the README: benchmarks/results/tpu_estimates.json
tpu: $(TPU)/bin/.ready
	$(TPU)/bin/python -m benchmarks.tpu

fixtures: $(REF)/bin/.ready
	for make in tests/reference/make_*.py; do $(REF)/bin/python -m tests.reference.$$(basename $$make .py) || exit 1; done

# how near the numbers are: benchmarks/results/parity.json, and the README's table of models
parity: $(BIN)/.ready
	$(BIN)/python -m pytest -p tests.measured -k "every_stage or full_size or published_clip_encoder" tests/test_*.py
	$(BIN)/python -m benchmarks.model_table

bench: $(REF)/bin/.ready
	$(REF)/bin/python -m benchmarks.throughput
	$(REF)/bin/python -m benchmarks.compilation
	$(REF)/bin/python -m benchmarks.convert
	$(REF)/bin/python -m benchmarks.input_pipeline
	$(REF)/bin/python -m benchmarks.training
	$(REF)/bin/python -m benchmarks.startup
	$(REF)/bin/python -m benchmarks.embed

# any bytes at all to the readers of files, for so many seconds: make fuzz SECONDS=3600
fuzz: $(BIN)/.ready
	$(BIN)/python $(PIP) atheris
	$(BIN)/python -m tests.fuzz -max_total_time=$(or $(SECONDS),600)

wheel: $(BIN)/.ready
	rm -rf dist build
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) $(REF) $(TPU) demo dist build site *.egg-info
