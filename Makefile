# `make run` and `make test` need nothing but Python 3.11 and make; the rest of the machine is left as it is.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= $(shell for p in python3.11 python3 python; do \
	if "$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then echo "$$p"; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
# Its name changes with what it stands for: unchanged pins, nothing to install.
STAMP := $(VENV)/installed-$(shell cat pyproject.toml requirements.txt | cksum | cut -d' ' -f1)
PEERS := $(VENV)/peers/installed-$(shell cksum < benchmarks/requirements.txt | cut -d' ' -f1)
CONFIG ?= cluster.yaml

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 16

setup: $(STAMP)  ## the virtual environment in .venv, once for each set of pins

$(STAMP): pyproject.toml requirements.txt
	@test -n "$(PYTHON)" || { echo "Bourse needs Python 3.11; none of python3.11, python3, python is one. Install it, or say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3.11-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' --constraint requirements.txt
	@rm -f $(VENV)/installed-*
	@touch $@

run: setup  ## the whole platform against the simulated exchange; Ctrl-C ends it
	$(BIN)/bourse up --config $(CONFIG)

check: setup  ## what cluster.yaml says, resolved
	$(BIN)/bourse check --config $(CONFIG)

doctor: setup  ## what is wrong with this machine
	$(BIN)/bourse doctor --config $(CONFIG)

test: setup  ## the tests; those with a Ray cluster of their own apart from the others
	$(BIN)/python -m pytest -q -n 2 -m "not cluster and not endurance"
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "cluster and not endurance"

endurance: setup  ## those that kill, injure and wait for days; a quarter of an hour
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "endurance and not alone"
	$(BIN)/python -m pytest -q -m "endurance and alone"

lint: setup  ## ruff, security rules included
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## mypy, strict on market and adapters
	$(BIN)/python -m mypy

bench: setup $(PEERS)  ## the race card, with its peers; make bench BENCH="w1 --json" runs one
	$(BIN)/python -m benchmarks $(BENCH)

$(PEERS): benchmarks/requirements.txt
	$(BIN)/python -m venv $(VENV)/peers
	$(VENV)/peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	@rm -f $(VENV)/peers/installed-*
	@touch $@

clean:  ## caches and builds; keeps .venv and data
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: help setup run check doctor test endurance lint types bench clean
