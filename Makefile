# make            this list
# PYTHON=python3.12 make quickstart   another interpreter; VENV=dir   another place for the environment

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed.stamp
TYPED := mvplm/structures mvplm/config mvplm/prompts mvplm/textmask
CODE := mvplm tools tests setup.py

.DEFAULT_GOAL := help
.PHONY: help venv quickstart test lint bench

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## create .venv with the tested versions (once)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@# Python compiles what it imports; compiling all of every package takes longer.
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e ".[dev]"
	@touch $@

quickstart: $(STAMP) ## install, answer questions about fresh scenes, write quickstart/report.html
	$(BIN)/mvplm quickstart

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy $(TYPED)

test: lint ## lint, then every test, two at a time
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

bench: $(STAMP) ## timings of the main parts
	$(BIN)/python tools/benchmark.py answers
	$(BIN)/python tools/benchmark.py deform_attn
