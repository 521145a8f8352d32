# Every target sets up what it needs in .venv: only Python >= 3.11 and make have to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: demo test test-fast check format bench gpu-check ptx-check onnx-conformance array-api-tests clean

# A stamp per set of extras: reinstalled when pyproject.toml changes.
$(VENV)/.installed-%: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ingot needs Python 3.11 or newer; set PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@# With bytecode at hand a fresh process starts in a fraction of the time.
	@$(BIN)/python -m compileall -q src
	@touch $@

demo: $(VENV)/.installed-demo
	$(BIN)/python examples/quickstart.py

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-fast: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m 'not slow' -x

check: $(VENV)/.installed-test $(VENV)/.installed-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy src

format: $(VENV)/.installed-check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Installs nothing: with this interpreter, or that of .venv where there is one, as they are.
gpu-check:
	@python=$(BIN)/python; test -x $$python || python=$(PYTHON); $$python tests/cuda/gpu_check.py

# Every kernel of every operator's samples as PTX for cc 7.5, 8.0 and 9.0, and assembled: no GPU is needed.
ptx-check: $(VENV)/.installed-test $(VENV)/.installed-ptx
	$(BIN)/python tests/cuda/ptx_check.py --processes $(WORKERS)

bench: $(VENV)/.installed-demo $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.launch
	$(BIN)/python -m benchmarks.eager
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.training_steps
	$(BIN)/python -m benchmarks.scripts
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.sentence_embeddings

# ONNX's own tests over Ingot, counted; EXECUTOR=native compiles them all, which takes a while.
EXECUTOR ?= interpreter
onnx-conformance: $(VENV)/.installed-onnx
	$(BIN)/python tests/onnx/conformance.py $(EXECUTOR)

# The array API consortium's suite over Ingot; SUITE is a checkout of it (it is on no package index).
array-api-tests: $(VENV)/.installed-test
	@test -n "$(SUITE)" || { echo "make array-api-tests SUITE=<a checkout of github.com/data-apis/array-api-tests>"; exit 2; }
	$(BIN)/python -m pip install -q hypothesis ndindex
	cd $(SUITE) && ARRAY_API_TESTS_MODULE=ingot.array_api ARRAY_API_TESTS_VERSION=2024.12 \
	    $(abspath $(BIN))/python -m pytest --max-examples=100 --xfails-file $(CURDIR)/tests/array_api/xfails.txt array_api_tests

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
