# make demo | test | serve | check | bench | openapi — each works on a fresh clone with Python 3.11 and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
PORT ?= 8443
VAR ?= var/demo
VENV := .venv
PY := $(VENV)/bin/python

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

$(VENV)/bin/python:
	@(command -v $(PYTHON) >/dev/null && $(PYTHON) -m venv $(VENV)) || python3 -m venv $(VENV)

$(VENV)/runtime: requirements.txt | $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements.txt
	@touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/runtime
	$(PY) -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements-dev.txt
	@touch $@

demo: $(VENV)/runtime ## run the whole node for real: PKI, data, HTTPS, 11,000 questions, verified receipts and log
	$(PY) -m examples.demo run --var $(VAR) --port $(PORT)

serve: $(VENV)/runtime ## the same node, left running on https://127.0.0.1:$(PORT)
	$(PY) -m examples.demo serve --var $(VAR) --port $(PORT)

test: $(VENV)/dev ## all tests, with a real Valkey and a real PostgreSQL
	$(PY) -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

check: $(VENV)/dev lint ## lint, types, import rules, and the tests about the project itself
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --cache-dir .import_linter_cache
	$(PY) -m pytest tests/house -n auto
	$(PY) -m pytest tests/unit/policies -n auto --cov=policies --cov-branch --cov-fail-under=100 --cov-report=

lint: $(VENV)/dev ## ruff and codespell
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/codespell

format: $(VENV)/dev ## rewrite the sources in the project's format
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

mutants: $(VENV)/dev ## mutation test of the policies: at least 85 % of its faults are found (some ten minutes)
	$(VENV)/bin/mutmut run --max-children 2
	$(VENV)/bin/mutmut results --all true | $(PY) -m bench.mutants

bench: $(VENV)/dev ## benchmarks, as ratios within one run
	$(PY) -m bench $(BENCH_ARGS)

openapi: $(VENV)/runtime ## write openapi/openapi.json from the example node
	$(PY) -m app write-openapi --node examples/hangzhou --output openapi/openapi.json

requirements: $(VENV)/dev ## compile the pinned requirements from pyproject.toml
	$(VENV)/bin/uv pip compile --quiet --no-header --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 pyproject.toml -o requirements.txt
	$(VENV)/bin/uv pip compile --quiet --no-header --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt

clean: ## remove what the demo built
	rm -rf var

.PHONY: help demo serve test check lint format mutants bench openapi requirements clean
