# Every target installs what it needs into .venv first (once, and again when the pins change).
#   make workbook [PROFILE=laptop|smoke|paper] [ARGS="-p name=value …"]     make test     make lab
PROFILE ?= laptop
ARGS ?=
PYTHON ?=
BIN := .venv/bin
READY := .venv/installed
export OMP_NUM_THREADS ?=
ifeq ($(OMP_NUM_THREADS),)
unexport OMP_NUM_THREADS
endif

.PHONY: workbook test test-all test-browser lint lab notebooks clean help
.DEFAULT_GOAL := help

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /make \1\t/' | expand -t 18

workbook: $(READY)  ## run the numbered notebooks; PROFILE=laptop (default), smoke or paper
	$(BIN)/jepalib run --profile $(PROFILE) $(ARGS)

lab: $(READY)  ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

test: $(READY)  ## all fast tests, the smoke run of the notebooks among them
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(READY)  ## the slow tests too: simulation closure, training, timings
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not browser"

test-browser: $(READY)  ## the widgets in JupyterLab in Chromium; screenshots in runs/browser
	$(BIN)/python tests/browser/chromium.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser tests/browser

lint: $(READY)  ## style, formatting and the order of the rooms
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

notebooks: $(READY)  ## write notebooks/*.ipynb from their reviewed text in notebooks/text
	$(BIN)/python notebooks/build.py

clean:  ## remove the environment and everything that was run; data/ stays
	rm -rf .venv runs .pytest_cache .ruff_cache .import_linter_cache jepalib.egg-info

$(READY): pyproject.toml constraints.txt setup.sh
	PYTHON="$(PYTHON)" bash setup.sh
