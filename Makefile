# make demo       installs into .venv and does the main job on the images of sample/
# make quick      installs and runs the tests that take milliseconds, for the loop between two edits
# make test       installs and runs all tests except those marked long
# make test-long  runs the tests marked long: distributed runs, fuzzing, kills
# make lint       formatting, lint, types and import rules
# make docs       builds the documentation site into site/; a broken link fails
# make wheel      builds the wheel, installs it into a clean environment and explains two images with it
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A second run finds these stamps and installs nothing.
RUN := $(VENV)/.run-installed
TEST := $(VENV)/.test-installed
LINT := $(VENV)/.lint-installed
DOCS := $(VENV)/.docs-installed
# One test process per core, up to four, with one thread each; the tests of a file share their fixtures. When a process
# dies the run ends: the others would wait for its tests.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile --max-worker-restart 0
# pip is quiet when all is well; when it fails, the log shows all that it printed. A comma would end the argument of a call.
comma := ,
# Python compiles what is imported; pip would compile all that is installed, most of which never is.
pip = $(BIN)/python -m pip install --no-compile --editable '.$(1)' >$(VENV)/pip.log 2>&1 || { cat $(VENV)/pip.log; exit 1; }

.PHONY: demo quick test test-long lint format docs wheel clean

demo: $(RUN)
	$(BIN)/python demo/run.py

quick: $(TEST)
	$(PYTEST) -m 'not slow and not long'

test: $(TEST)
	$(PYTEST) --durations=20

test-long: $(TEST)
	OMP_NUM_THREADS=2 $(BIN)/pytest -m long --durations=20

lint: $(LINT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(LINT)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS)
	$(BIN)/python docs/site/build.py

wheel: $(LINT)
	BIN=$(BIN) PYTHON=$(PYTHON) bash .ci/wheel

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "diml needs Python 3.11 or newer, got $$($(PYTHON) --version); try make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
	  echo "python3-venv is missing, installing it"; apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null && \
	  $(PYTHON) -m venv $(VENV); } || { rm -rf $(VENV); \
	  echo "cannot create a virtual environment; install python3-venv (apt-get install python3-venv)"; exit 1; }

$(RUN): pyproject.toml | $(BIN)/python
	@echo "installing diml into $(VENV)"
	@$(call pip,[serve])
	@touch $@

$(TEST): pyproject.toml | $(BIN)/python
	@echo "installing diml and what its tests need into $(VENV)"
	@$(call pip,[test])
	@touch $@ $(RUN)

$(LINT): pyproject.toml | $(BIN)/python
	@echo "installing diml and what its checks need into $(VENV)"
	@$(call pip,[test$(comma)lint$(comma)bench])
	@touch $@ $(TEST) $(RUN)

$(DOCS): pyproject.toml | $(BIN)/python
	@echo "installing diml and what its documentation needs into $(VENV)"
	@$(call pip,[docs])
	@touch $@ $(RUN)

clean:
	rm -rf $(VENV) build dist demo-out site
