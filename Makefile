# Two commands on a fresh machine: `make demo` and `make test`. Needs Python >= 3.11, make and PyPI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STORE ?= ./sweeps
BENCH ?= .bench

# Tests beside each other: one process a core, at most four. Those that start Ray are one group, in one of the processes.
PYTEST := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadscope

.PHONY: demo test test-all lint check docs bench faults clean

demo: $(VENV)/.installed  ## run the quickstart sweep and analyse it
	$(BIN)/grok-sweeps run quickstart --store $(STORE)
	$(BIN)/grok-sweeps analyze quickstart --store $(STORE)

test: $(VENV)/.installed-dev  ## the tests to run before a commit: every package, a few minutes
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.installed-dev  ## and real kills, fault campaigns, clusters of several nodes, statistics of many tables
	$(PYTEST)

lint: $(VENV)/.installed-dev  ## formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test-all  ## what CI runs

docs: $(VENV)/.installed  ## write grok_sweeps/COLUMNS.md anew from the schema; a test fails where it is stale
	@$(BIN)/python -m grok_sweeps.columns

bench: $(VENV)/.installed-dev  ## measure the engine and the scheduling: tables here, JSON in $(BENCH)
	@mkdir -p $(BENCH)
	@$(BIN)/python -m tests.bench.engine --json $(BENCH)/engine.json
	@$(BIN)/python -m tests.bench.scheduling --json $(BENCH)/scheduling.json

faults: $(VENV)/.installed-dev  ## break things under small sweeps and count what was lost: 240 faults, a table
	@$(BIN)/python -m tests.faults

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "grok-sweeps needs Python 3.11 or newer, this is %s; call make PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:  ## remove the environment and caches, never results
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
