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

.PHONY: help setup demo test lint types pytest faults check ui stop lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## create .venv and install the locked packages

# Every downloaded file must have one of the SHA-256 sums in constraints/. Nothing is resolved here (--no-deps): the lock files are
# complete, which `pip check` confirms. Source is built by the locked setuptools, because pip fetches a build's own requirements
# without checking hashes. torch's build for the CPU alone is not in the registry. It is taken where pip is configured to find it,
# and needs no CUDA libraries. pip reports that it finds none in one of two ways, the second where its configuration has a
# constraint on torch.
# The stamp is newer than everything that decides what is installed, so that a second call starts at once.
$(READY): pyproject.toml constraints/find-python.sh $(wildcard constraints/*.txt)
	@set -e; \
	python=$$(PYTHON="$(PYTHON)" sh constraints/find-python.sh); \
	version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	case $$version in 3.11|3.12) pins=constraints/python-3.11 ;; *) pins=constraints/python-3.13 ;; esac; \
	echo "Setting up $(VENV) with Python $$version ($$python), packages as in $$pins.txt ..."; \
	there=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true); \
	[ "$$there" = "$$version" ] || "$$python" -m venv --clear $(VENV); \
	install="$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps"; \
	$$install --require-hashes -r constraints/build.txt; \
	said=$$($$install --require-hashes -r constraints/torch-cpu.txt 2>&1) || case $$said in \
		*"No matching distribution"*|*ResolutionImpossible*) ;; *) echo "$$said" >&2; exit 1 ;; \
	esac; \
	$$install --require-hashes --no-build-isolation -r $$pins.txt; \
	if $(BIN)/python -m pip show --disable-pip-version-check torch | grep -q '^Requires:.*nvidia-'; then \
		$$install --require-hashes -r $$pins-cuda.txt; \
	fi; \
	$$install --no-build-isolation --editable '.[pipeline]'; \
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

pytest: $(READY) ## every test but those of `make faults`
	@$(BIN)/python -m pytest

faults: $(READY) ## kill whole runs again and again, take their Postgres away, compare (15 to 30 minutes)
	@$(BIN)/python -m pytest -m faults -n0 tests

check: $(READY) ## the smoke test alone: find in seconds what would fail later
	@$(MARIO) check

ui: $(READY) ## Prefect server, its worker and the MLflow server, on loopback
	@$(MARIO) ui

stop: $(READY) ## stop the embedded Postgres
	@$(MARIO) stop

lock: $(READY) ## write the versions in .venv into constraints/, with the hashes of all platforms' files
	@$(BIN)/python constraints/lock.py

clean: ## remove .venv and caches; .mario (your runs) stays
	rm -rf $(VENV) .venv-newest .venv-other .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info build
