# Every target does its own set-up: `make demo` on a fresh clone is enough. `make help` lists the targets.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
BIN := $(VENV)/bin
MARIO := $(BIN)/mario
READY := $(VENV)/ready

# pip is pinned like everything else: an old one cannot install dependency groups.
PIP := pip==25.3

.PHONY: help setup demo test lint types pytest faults check ui stop lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## make .venv and install the pinned packages

# The stamp is newer than everything that decides what is installed, so that a second call starts at once.
$(READY): pyproject.toml constraints/find-python.sh $(wildcard constraints/*.txt)
	@set -e; \
	python=$$(PYTHON="$(PYTHON)" sh constraints/find-python.sh); \
	version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	case $$version in 3.11|3.12) pins=constraints/python-3.11.txt ;; *) pins=constraints/python-3.13.txt ;; esac; \
	echo "Setting up $(VENV) with Python $$version ($$python), packages as in $$pins ..."; \
	there=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true); \
	[ "$$there" = "$$version" ] || "$$python" -m venv --clear $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(PIP)'; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c "$$pins" --editable . --group dev; \
	touch $@; \
	echo "Done: $(VENV)"

demo: $(READY) ## the whole pipeline, small: train, evaluate, report (minutes)
	@$(MARIO) run demo

test: lint types pytest ## ruff, mypy, pytest

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

pytest: $(READY)
	@$(BIN)/python -m pytest

faults: $(READY) ## kill whole runs again and again, take their Postgres away, compare (half an hour)
	@$(BIN)/python -m pytest -m faults -n0 tests

check: $(READY) ## the smoke test alone: seconds, and says what would fail later
	@$(MARIO) check

ui: $(READY) ## Prefect server, its worker and the MLflow server, on loopback
	@$(MARIO) ui

stop: $(READY) ## stop the embedded Postgres
	@$(MARIO) stop

lock: $(READY) ## write what .venv holds into constraints/
	@version=$$($(BIN)/python -c 'import sys; print("3.11" if sys.version_info < (3, 13) else "3.13")'); \
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//; s/ @ .*//' | LC_ALL=C sort -f > constraints/python-$$version.txt; \
	wc -l constraints/python-$$version.txt

clean: ## remove .venv and caches; .mario (your runs) stays
	rm -rf $(VENV) .venv-newest .venv-other .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info build
