# Every target does its own set-up; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# What `make train` needs and makes: an environment of its own, checkpoints, exported files.
TRAIN := .train
MODEL ?= mini
# New releases are left to age for a week before a lock file may name them.
UV ?= $(shell command -v uv || echo $(BIN)/uv)
LOCK := $(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header \
	--exclude-newer "1 week" --quiet
ARGS ?=
# Those that start whole stacks measure what an outage costs others, so they have the machine for themselves. Tests of a
# file may share a gateway, whose breakers remember what was before, so they stay together and in order.
UNIT := $(BIN)/python -m pytest -m "not stack" --numprocesses 2 --dist loadfile
# command:Debian package, for what tests call that pip cannot install
SYSTEM := curl:curl redis-server:redis-server pg_ctlcluster:postgresql

export PIP_ROOT_USER_ACTION := ignore

.PHONY: help setup setup-system setup-bench bench-steps up test test-unit check fmt bench bench-gateway bench-streams bench-workers bench-memory \
	bench-exam bench-counters bench-fairness bench-faults bench-usage soak chaos upgrade fuzz train test-train wheel lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.dev  ## a virtual environment with Penstock and all its tools; leaves .venv/bin/penstock

setup-system:  ## the system packages that tests use (installs them when root, else names them)
	@missing=(); \
	for pair in $(SYSTEM); do command -v "$${pair%%:*}" >/dev/null || missing+=("$${pair##*:}"); done; \
	if [ $${#missing[@]} -eq 0 ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}" \
			>/dev/null && exit 0; \
	fi; \
	echo "Not installed: $${missing[*]}. On Debian: sudo apt-get install $${missing[*]}. What needs them is left out." >&2

setup-bench:  ## the system packages that bench-gateway uses
	@$(MAKE) --no-print-directory setup-system SYSTEM="nginx:nginx-light wrk:wrk"

up: $(VENV)/.run  ## serve: `make up` or `make up ARGS="-f penstock.yaml"`
	@exec $(BIN)/penstock up $(ARGS)

test: $(VENV)/.dev setup-system  ## every test; ARGS="tests/cli -k status" for some of them, one after the other
ifeq ($(strip $(ARGS)),)
	$(UNIT)
	$(BIN)/python -m pytest -m stack
else
	$(BIN)/python -m pytest $(ARGS)
endif

test-unit: $(VENV)/.dev  ## the tests that start no engine, in a few minutes
	$(UNIT) $(ARGS)

check: $(VENV)/.dev  ## format, lint, types, import layers, lock files, sizes
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@! grep -nE '://|^-' requirements/*.txt || \
		{ echo "lock files must not name registries or addresses" >&2; exit 1; }
	@find src -name '*.py' -exec wc -l {} + | \
		awk '$$2 != "total" && $$1 > 400 {print $$2 ": " $$1 " lines, at most 400 are allowed"; bad = 1} END {exit bad}' >&2

fmt: $(VENV)/.dev  ## format, and mend what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(VENV)/.dev  ## measure; writes the table that the README quotes
	$(BIN)/python -m bench.run $(ARGS)

bench-gateway: $(VENV)/.dev setup-bench  ## gateways side by side; ARGS="--quick" to try, --peers, --rounds, --seconds
	$(BIN)/python -m bench.gateway $(ARGS)

bench-steps: $(VENV)/.dev  ## what each step of the request path costs, without sockets
	$(BIN)/python -m bench.steps $(ARGS)

upgrade: $(VENV)/.dev setup-system  ## from an older commit to this one under traffic, nothing dropped; FROM=COMMIT
	$(BIN)/python -m bench.upgrade --from $(FROM)

chaos: $(VENV)/.dev setup-system  ## a hundred kills under load, and everything accounted for; ARGS="--kills 10" to try, ARGS="--shared" with Redis and PostgreSQL, ARGS="--hosts" with a second host too
	$(BIN)/python -m bench.chaos $(ARGS)

soak: $(VENV)/.dev  ## 20 minutes with clients that leave and an upstream that fails; ARGS="--minutes 2" to try
	$(BIN)/python -m bench.soak $(ARGS)

fuzz: $(VENV)/.fuzz  ## random input for what reads HTTP, events and JSON, 10 minutes; ARGS="--minutes 60", --only, --replay
	$(BIN)/python -m tools.fuzz $(ARGS)

bench-streams: $(VENV)/.dev  ## 10,000 open streams in one worker: lateness, memory, CPU; ARGS="--rates 1,5 --streams 1000"
	$(BIN)/python -m bench.open_streams $(ARGS)

bench-workers: $(VENV)/.dev  ## CPU per request with two workers against one, and how connections spread over workers
	$(BIN)/python -m bench.workers $(ARGS)

bench-memory: $(VENV)/.dev  ## memory of a worker with 1,000 keys over a million requests, and how fast one is ready
	$(BIN)/python -m bench.memory $(ARGS)

bench-exam: $(VENV)/.dev  ## the bundled models sit the exam, and what an answer costs; ARGS="--count 50" to try
	$(BIN)/python -m bench.exam $(ARGS)

bench-counters: $(VENV)/.dev setup-system  ## what counting by the node and in Redis costs, and a hundred thousand keys
	$(BIN)/python -m bench.counters $(ARGS)

bench-fairness: $(VENV)/.dev  ## what a tenant notices of another at fifty times its share; ARGS="--seconds 20 --rounds 1" to try
	$(BIN)/python -m bench.fairness $(ARGS)

bench-faults: $(VENV)/.dev  ## what clients notice when one of three deployments fails, in each known way; ARGS="--count 50" to try
	$(BIN)/python -m bench.faults $(ARGS)

bench-usage: $(VENV)/.dev  ## a look at what was used, over a ledger of a million rows; ARGS="--rows 10000" to try
	$(BIN)/python -m bench.usage $(ARGS)

train: $(TRAIN)/.ready  ## train a bundled model, or go on with it: MODEL=mini (default) or base; ARGS="--threads 4"
	$(TRAIN)/venv/bin/python -m tools.reference_models.train $(MODEL) --out $(TRAIN)/$(MODEL) $(ARGS)
	$(TRAIN)/venv/bin/python -m tools.reference_models.export $(TRAIN)/$(MODEL)
	$(TRAIN)/venv/bin/python -m tools.reference_models.curve $(TRAIN)/$(MODEL) $(TRAIN)/$(MODEL)/curve.svg

test-train: $(TRAIN)/.ready  ## the tests of training and export, which need PyTorch
	$(TRAIN)/venv/bin/python -m pytest tests/tools/test_training.py -o filterwarnings=default $(ARGS)

wheel: $(VENV)/.dev  ## dist/*.whl and the source distribution
	$(BIN)/python -m build --no-isolation

lock:  ## work out requirements/*.txt again from pyproject.toml (needs uv)
	$(LOCK) pyproject.toml -o requirements/run.txt
	$(LOCK) pyproject.toml --extra dev -o requirements/dev.txt
	$(LOCK) requirements/build.in --constraint requirements/dev.txt -o requirements/build.txt
	$(LOCK) requirements/fuzz.in -o requirements/fuzz.txt

clean:  ## remove what builds and checks leave behind, but not .venv
	rm -rf dist build .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The environment is made in two steps, so that `make up` fetches only what running needs.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Penstock needs Python 3.11 or newer; say which with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "the venv module does not work; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.run: $(VENV)/.python requirements/run.txt requirements/build.txt pyproject.toml
	@echo "Installing what Penstock needs to run into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements/run.txt -r requirements/build.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@echo "Installing what the tests and checks need into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

$(TRAIN)/.ready: requirements/run.txt tools/reference_models/requirements.txt pyproject.toml
	@echo "Installing what training needs into $(TRAIN)/venv ..."
	@$(PYTHON) -m venv $(TRAIN)/venv
	@$(TRAIN)/venv/bin/python -m pip install --quiet --disable-pip-version-check -r tools/reference_models/requirements.txt \
		--editable .
	@touch $@

$(VENV)/.fuzz: $(VENV)/.dev requirements/fuzz.txt
	@$(PIP) install --require-hashes -r requirements/fuzz.txt
	@touch $@
