# Everything is done with these verbs; `make help` lists them.
#
#   VENV=folder        environment to make and use (default .venv); checkouts with equal constraints.txt may share one
#   PYTHON=python3.12  interpreter that makes the environment (default: python3 if it is 3.11 … 3.13, else one that is)
#   TORCH_INDEX=url    index to take PyTorch from, for instance PyTorch's own with CPU builds (default: pip's index)
#   STORE=minio        `make demo` on MinIO (needs MINIO_BIN) instead of a folder
#   BACKBONE=minilm    `make demo` with bots that are heads on a sentence encoder, which it installs
#   SCENARIO=spike     of `make load`: steady (default), spike, cold-morning, rolling-update, hot-bot, many-tenants
#   ROUTER=url         `make load` asks what runs there (GRPC=host:port: over gRPC too; STORE_URL=url: its store), not a
#                      stack of its own; LOAD_ARGS="…": whatever `python -m loadtests run --help` knows besides

SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV ?= .venv
STORE ?= file
BACKBONE ?=
TORCH_INDEX ?=
PYTHON ?= $(shell for name in python3 python3.12 python3.11 python3.13; do \
  "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && command -v "$$name" && break; done)
PYTEST_ARGS ?=
SCENARIO ?= steady
ROUTER ?=
GRPC ?=
STORE_URL ?=
LOAD_ARGS ?=

bin := $(VENV)/bin
stamp := $(VENV)/.installed-$(shell cat constraints.txt pyproject.toml | cksum | cut -d' ' -f1)
export PYTHONPATH := $(CURDIR)

.PHONY: help install demo test lint bench fuzz drills load constraints clean

help: ## List the verbs
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

install: $(stamp) ## Make the environment
	@if [ "$(VENV)" = .venv ] && ! $(bin)/python -c 'import importlib.metadata as m; m.distribution("botshard")' 2>/dev/null; then \
	  $(bin)/python -m pip install --quiet --no-deps --editable .; fi

$(stamp): constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "botshard needs Python 3.11, 3.12 or 3.13, and none was found; say where one is:" \
	  "make PYTHON=/path/to/python3.12"; exit 1; }
	@test -x $(bin)/python || "$(PYTHON)" -m venv $(VENV)
	@echo "installing into $(VENV) (PyTorch and TensorFlow: some GB, some minutes)"
	@if [ -n "$(TORCH_INDEX)" ]; then \
	  $(bin)/python -m pip install --quiet --index-url "$(TORCH_INDEX)" -c constraints.txt torch; fi
	@set -o pipefail; $(bin)/python scripts/dependencies.py local load \
	  | $(bin)/python -m pip install --quiet -c constraints.txt -r /dev/stdin
	@rm -f $(VENV)/.installed-*; touch $@

define with_backbone
@set -o pipefail; $(bin)/python scripts/dependencies.py backbone-$(1) | $(bin)/python -m pip install --quiet -c constraints.txt -r /dev/stdin
endef

demo: install ## Train 200 bots, publish them, serve them, check every answer
	$(if $(BACKBONE),$(call with_backbone,$(BACKBONE)))
	$(bin)/python -m examples.demo --store $(STORE) $(if $(BACKBONE),--backbone $(BACKBONE))

test: install lint ## Run all checks and all tests
	$(bin)/python -m pytest $(PYTEST_ARGS)

lint: install ## Run the checks that need no test: style, types, imports
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports --no-cache

bench: install ## Run the benchmarks of this release
	$(bin)/python -m benchmarks.lookup
	$(bin)/python -m benchmarks.catalog_memory
	$(bin)/python -m benchmarks.router_overhead
	$(bin)/python -m benchmarks.router_workers
	$(bin)/python -m benchmarks.pool
	$(bin)/python -m benchmarks.overcommit
	$(bin)/python -m benchmarks.cold
	$(call with_backbone,minilm)
	$(bin)/python -m benchmarks.encoder
	$(bin)/python -m benchmarks.wake
	$(bin)/python -m benchmarks.idle
	$(bin)/python -m benchmarks.fleet
	$(bin)/python -m benchmarks.residency
	$(bin)/python -m benchmarks.memory

fuzz: install ## Send replica and router 10,000 requests that the API's descriptions allow or nearly do, and the router 100,000 more
	$(bin)/python -W ignore -m fuzz.rest
	$(bin)/python -m fuzz.router

drills: install ## Add, drain, split, kill and damage on a live stack under load (25 minutes)
	$(bin)/python -m drills

load: install ## Run one load scenario (SCENARIO=steady) in two minutes at most, and report as HTML and JSON in load-reports
	$(bin)/python -m loadtests run $(SCENARIO) $(if $(ROUTER),--router $(ROUTER)) $(if $(GRPC),--grpc $(GRPC)) \
	  $(if $(STORE_URL),--store $(STORE_URL)) $(LOAD_ARGS)

constraints: install ## Write constraints.txt from the environment as it is
	@{ echo "# Exact versions that are tested together (Python 3.11, Linux). Written by: make constraints"; \
	  $(bin)/python -m pip freeze --exclude-editable | grep -vE '^(botshard|torch==.*\+)'; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## Remove what the verbs made, but for the environment
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov dist .botshard .demo load-reports
