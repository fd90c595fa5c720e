# The list of commands. Each sets up what it needs on a machine that has Python 3.11+, make and the package index.

SHELL := /bin/bash
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c '$(NEW_ENOUGH)' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
N ?= 10000
UPGRADE ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo run test check bench format lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP)  ## the virtual environment, from the lock file

# Made anew only when its Python does not run or is too old; else brought to what the lock says, under whoever is using it.
$(STAMP): requirements/lock.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or run make PYTHON=/path/to/python" >&2; exit 1; }
	@$(BIN)/python -c '$(NEW_ENOUGH)' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 \
		|| $(PYTHON) -m venv --clear $(VENV) \
		|| { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: on Debian, apt-get install python3-venv" >&2; exit 1; }
	$(PIP) install --require-hashes -r requirements/lock.txt
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

demo: $(STAMP)  ## send a campaign of N=10000 through a simulated provider, and prove it
	$(BIN)/dispatcher demo --contacts $(N)

run: $(STAMP)  ## the daemon with its own PostgreSQL and the simulator, until Ctrl-C
	$(BIN)/dispatcher run --with-simulator

test: $(STAMP)  ## every test
	$(BIN)/python -m pytest

# All four are told, also when the first fails.
check: $(STAMP)  ## format, lint, types, import rules
	@failed=0; for step in "ruff format --check --output-format concise" "ruff check --output-format concise" "mypy" "lint-imports --no-logo"; do \
		echo "== $$step"; $(BIN)/$$step || failed=1; done; exit $$failed

bench: $(STAMP)  ## the benchmarks: a table, and bench/results/*.json
	$(BIN)/python -m bench

format: $(STAMP)  ## format the code, and mend what lint can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# Keeps the versions that still fit; UPGRADE=--upgrade takes the newest. The hashes are those of every platform's files.
lock:  ## the lock file, anew from pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	$(PYTHON) -m venv --clear .lock-venv
	.lock-venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	.lock-venv/bin/uv pip compile pyproject.toml --quiet --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links $(UPGRADE) --output-file requirements/lock.txt
	rm -rf .lock-venv

clean:  ## forget the virtual environment and the caches
	rm -rf $(VENV) .lock-venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
