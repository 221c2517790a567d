# Sprout & Tomato. `make help` lists what there is.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Folder or page with wheels of your own, for instance a llama-cpp-python built for your board.
WHEELS ?=
# Another index for torch, for instance https://download.pytorch.org/whl/cpu (see README).
TORCH_INDEX ?=
# Facts of your own for the demo, and anything else it takes: make demo DEMO="--facts my.jsonl"
DEMO ?=

CORES := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
PIP   := $(BIN)/python -m pip --disable-pip-version-check
FIND  := $(if $(WHEELS),--find-links $(WHEELS) --prefer-binary)
# LLAVA is llama.cpp's vision part, which nothing here uses; leaving it out halves the build.
BUILD := CMAKE_BUILD_PARALLEL_LEVEL=$(CORES) CMAKE_ARGS="-DLLAVA_BUILD=OFF $(CMAKE_ARGS)"

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast check bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP) ## make .venv and install everything pinned in constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || { \
	  echo "Python 3.10, 3.11 or 3.12 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import llama_cpp' 2>/dev/null || { \
	  echo "Installing. llama-cpp-python has no ready wheel on the package index, so it is compiled now:"; \
	  echo "about 10 minutes on 2 cores, once (pip keeps the wheel). You need a C++ compiler."; \
	  echo "If you have a wheel of it: make WHEELS=FOLDER-OR-PAGE $(MAKECMDGOALS)"; \
	  command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || { \
	    test -n "$(WHEELS)" || { echo "There is no C++ compiler here; on Debian or Ubuntu: apt install build-essential"; exit 1; }; }; }
	@$(BIN)/python -c 'import torch' 2>/dev/null || { \
	  echo "No GPU? The small build of torch saves gigabytes: make TORCH_INDEX=https://download.pytorch.org/whl/cpu $(MAKECMDGOALS)"; }
	$(PIP) install --quiet --upgrade "pip>=24"
	$(PIP) install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) --constraint constraints.txt torch
	$(BUILD) $(PIP) install --progress-bar off $(FIND) --constraint constraints.txt --editable ".[demo,dev]" | grep --line-buffered -E "^(Collecting|Building|  Building|Successfully|ERROR)" || true
	@$(BIN)/python -c 'import llama_cpp, torch, transformers, peft, iotcore, tuf, pytest, sprout_agent, tomato_trainer' \
	  || { echo "The installation is not complete; run 'make setup' again and read the lines above."; exit 1; }
	@touch $@

demo: $(STAMP) ## the whole loop, on this machine, in 6 to 7 minutes
	@$(BIN)/sprout-agent demo $(DEMO)

test: $(STAMP) ## everything, also with the real model and both programs as processes
	$(BIN)/python -m pytest

test-fast: $(STAMP) ## only what takes seconds
	$(BIN)/python -m pytest -m "not real_model and not system"

check: $(STAMP) ## ruff, mypy, import-linter, and the documents' tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/docs

bench: $(STAMP) ## the benchmarks, short form
	$(BIN)/python benchmarks/first_light.py --quick

clean: ## remove .venv and what tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build *.egg-info
