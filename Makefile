# The list of commands. Each sets up what it needs on a machine that has Python 3.11+, make and the package index.

SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
N ?= 10000

.DEFAULT_GOAL := help
.PHONY: help venv demo run test check bench format lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP)  ## the virtual environment, from the lock file

$(STAMP): requirements/lock.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or run make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { echo "No venv module: on Debian, apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

demo: $(STAMP)  ## send a campaign of N=10000 through a simulated provider, and prove it
	$(BIN)/dispatcher demo --contacts $(N)

run: $(STAMP)  ## the daemon with its own PostgreSQL and the simulator, until Ctrl-C
	$(BIN)/dispatcher run --with-simulator

test: $(STAMP)  ## every test
	$(BIN)/python -m pytest

check: $(STAMP)  ## format, lint, types, import rules
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(STAMP)  ## the benchmarks: a table, and bench/results/*.json
	$(BIN)/python -m bench

format: $(STAMP)  ## format the code, and mend what lint can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lock: $(STAMP)  ## make the lock file anew from pyproject.toml
	$(PYTHON) -m venv --clear .lock-venv
	.lock-venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	.lock-venv/bin/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --upgrade --output-file requirements/lock.txt
	rm -rf .lock-venv

clean:  ## forget the virtual environment and the caches
	rm -rf $(VENV) .lock-venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
