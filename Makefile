# `make` prints the targets. Everything runs in .venv, which `make setup` makes from pyproject.toml alone.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup check test soak bench demo

help: ## Print this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

setup: .venv/.ready ## Make .venv and install Argus into it, with the embedded stack and the developers' tools

.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Argus needs Python 3.11 or newer: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(PYTHON) -m venv $(BIN)/../readers  # what reads our exports in tests holds other versions of what we need
	$(BIN)/../readers/bin/python -m pip install --quiet --disable-pip-version-check 'datumaro>=1.13,<2' 'trackeval>=1.3,<2'
	@touch $@

check: setup ## Format, lint, types, import rules, spelling, migrations, generated text
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/codespell \
	  && $(BIN)/squawk argus_ray/catalog/migrations/*.sql && $(BIN)/python -m tests.generated --check

test: setup ## Run the tests on real parts, the slow ones that kill processes included
	$(BIN)/python -m pytest

soak: setup ## Kill things at random moments, hundreds of times
	$(BIN)/python -m pytest -m soak

bench: setup ## Run the benchmarks and write their table into the README
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,bench]'
	$(BIN)/python -m tests.bench

demo: setup ## Start everything, draw videos, search them, find and follow concepts, export, stop: make demo [VIDEOS="a.mp4 b.mov"]
	$(BIN)/argus demo $(VIDEOS)
