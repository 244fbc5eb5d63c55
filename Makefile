# Every target does its own set-up: `make demo` on a fresh clone is enough. `make help` lists the targets.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
BIN := $(VENV)/bin
MARIO := $(BIN)/mario
READY := $(VENV)/ready

# pip is locked like everything else: `make lock` writes its hashes into constraints/build.txt.
PIP_VERSION := 25.3

.PHONY: help setup demo test lint types pytest faults e2e check ui stop lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## create .venv and install the locked packages

# constraints/install.sh says what is installed, and how it is checked.
# The stamp is newer than everything that decides what is installed, so that a second call starts at once.
$(READY): pyproject.toml constraints/find-python.sh constraints/install.sh $(wildcard constraints/*.txt)
	@set -e; \
	python=$$(PYTHON="$(PYTHON)" sh constraints/find-python.sh); \
	version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	echo "Setting up $(VENV) with Python $$version ($$python) ..."; \
	there=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true); \
	[ "$$there" = "$$version" ] || "$$python" -m venv --clear $(VENV); \
	sh constraints/install.sh $(BIN)/python; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable '.[pipeline]'; \
	said=$$($(BIN)/python -m pip check --disable-pip-version-check) || { echo "$$said" >&2; exit 1; }; \
	touch $@; \
	echo "Done: $(VENV)"

demo: $(READY) ## train an agent that finishes level 1-1, evaluate it, report (minutes)
	@$(MARIO) run demo

test: lint types pytest ## the three below

lint: $(READY) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY) ## mypy, strict
	@$(BIN)/mypy

pytest: $(READY) ## every test but those of the two below
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

# Two tests at a time, whatever their file: each waits for the processes that it kills, and the two longest are in one file. The
# test of machines has leases that end after seconds, and counts attempts, so it has the machine to itself.
MACHINES := tests/faults/test_machines.py
faults: $(READY) ## kill whole runs again and again, take their Postgres away, compare (15 to 30 minutes)
	@$(BIN)/python -m pytest -m faults -n0 $(MACHINES)
	@$(BIN)/python -m pytest -m faults -n2 --dist=loadgroup --ignore=$(MACHINES) tests/faults

# Chromium is a package of the system. Its driver is in the wheel of Playwright.
CHROMIUM ?= chromium

e2e: $(READY) ## look at Prefect, MLflow, the report and episodes in a browser, which is installed where it is missing (minutes)
	@sh tests/e2e/install-chromium.sh "$(CHROMIUM)"
	@CHROMIUM="$(CHROMIUM)" $(BIN)/python -m pytest -m e2e -n0 tests/e2e

check: $(READY) ## the smoke test alone: find in seconds what would fail later
	@$(MARIO) check

ui: $(READY) ## Prefect server, its workers and the MLflow server, on loopback
	@$(MARIO) ui

stop: $(READY) ## stop the embedded Postgres
	@$(MARIO) stop

lock: $(READY) ## write the versions in .venv into constraints/, with the hashes of all platforms' files
	@$(BIN)/python constraints/lock.py

clean: ## remove .venv and caches; .mario (your runs) stays
	rm -rf $(VENV) .venv-newest .venv-other .mypy_cache .ruff_cache .pytest_cache .hypothesis .mario-e2e *.egg-info build
