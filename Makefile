# make demo   installs into .venv and does the main job on the images of sample/
# make test   installs and runs all tests
# make lint   formatting, lint, types and import rules
# make wheel  builds the wheel, installs it into a clean environment and explains two images with it
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A second run finds these stamps and installs nothing.
RUN := $(VENV)/.run-installed
TEST := $(VENV)/.test-installed
LINT := $(VENV)/.lint-installed

.PHONY: demo test lint format wheel clean

demo: $(RUN)
	$(BIN)/python demo/run.py

test: $(TEST)
	$(BIN)/pytest

lint: $(LINT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(LINT)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(LINT)
	BIN=$(BIN) PYTHON=$(PYTHON) bash .ci/wheel

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "diml needs Python 3.11 or newer; $$($(PYTHON) --version) came. Try: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
	  echo "python3-venv is missing, installing it"; apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null && \
	  $(PYTHON) -m venv $(VENV); } || { rm -rf $(VENV); \
	  echo "no virtual environment could be made; install python3-venv (apt-get install python3-venv)"; exit 1; }

$(RUN): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(TEST): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(RUN)

$(LINT): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test,lint,bench]'
	@touch $@ $(TEST) $(RUN)

clean:
	rm -rf $(VENV) build dist demo-out
