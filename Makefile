# Everything here does its own set-up: it needs Python 3.11 or newer, make and git.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
WORKERS ?= auto

.DEFAULT_GOAL := help
.PHONY: help demo test clients lint types contract docs bench lock clean

help: ## show these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 20

# pip installs exactly the lock (hashes checked), then this checkout on top without asking for anything more.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "clary needs Python 3.11 or newer: make PYTHON=/path/to/python3")'
	@$(PYTHON) -m venv $(VENV) || { echo 'python3 -m venv failed: on Debian and Ubuntu, install the package python3-venv'; exit 1; }
	@echo 'installing the locked dependencies into $(VENV)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

demo: $(VENV)/.installed ## train a real model through an unmodified boto3 client, and look on
	@$(BIN)/python -m clary.cli.demo

test: $(VENV)/.installed clients ## run the whole test suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# Tests of a client whose environment cannot be made are skipped, or fail where CLARY_REQUIRE names `clients`.
clients: $(VENV)/.installed ## make the environments of the clients that are tested (about 1 GB in .clients/)
	-@$(BIN)/python tests/clients/environments.py

lint: $(VENV)/.installed ## ruff: rules and format
	$(BIN)/ruff check src tests bench docs
	$(BIN)/ruff format --check src tests bench docs

types: $(VENV)/.installed ## mypy, strict
	$(BIN)/mypy

contract: $(VENV)/.installed ## the arrows between the rooms
	$(BIN)/lint-imports

docs: $(VENV)/.installed ## write the pages that are drawn from the code
	$(BIN)/python docs/generate.py

bench: $(VENV)/.installed ## figures as ratios against a peer, in one run (installs the peers first)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bench/requirements.lock
	$(BIN)/python bench/run.py

lock: $(VENV)/.installed ## renew requirements.lock after a change of pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev --extra bench -c requirements.lock --no-emit-index-url --no-header pyproject.toml -o bench/requirements.lock

clean: ## remove the environment, everything built, and the images of the tests
	-@test ! -x $(BIN)/python || $(BIN)/python tests/container_images.py 2>/dev/null
	rm -rf $(VENV) .clients .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
