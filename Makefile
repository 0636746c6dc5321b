# EcomCRM. Needs Python 3.11 or newer, make and a shell; `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
VENV := .venv/.made
RUNTIME := .venv/.runtime
DEV := .venv/.dev
NODE_MODULES := node_modules/.installed
FRONTEND := webapp/static/build/manifest.json
FRONTEND_SOURCES := package.json $(shell find webapp/frontend webapp/templates -type f 2>/dev/null)
COMPILE := $(BIN)/uv pip compile --quiet --system-certs --generate-hashes --no-emit-index-url \
	--no-emit-find-links --universal --python-version 3.11
# Containers often set it. Every start of dbt or Dagster then compiles what it imports: 8 s, not 3.
unexport PYTHONDONTWRITEBYTECODE
say = @printf '==> %s\n' $(1) >&2

.PHONY: help setup demo up down status smoke test bench crash simulate check lint types format manifest \
	migration lock clean

help: ## List the commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

# ---------------------------------------------------------------- run
demo: setup ## Start everything on a made-up shop, no keys needed (DATA=folder plays a given one).
	@exec $(BIN)/ecomcrm demo $(if $(DATA),--data '$(DATA)')

up: setup ## Start the installation on real keys (see .env.example).
	@exec $(BIN)/ecomcrm up

down: setup ## Stop what `make demo` or `make up` started.
	@$(BIN)/ecomcrm down

status: setup ## Show which processes run.
	@$(BIN)/ecomcrm status

smoke: setup ## Play the whole loop in a temporary folder; one JSON line of figures at the end.
	@exec $(BIN)/ecomcrm smoke $(if $(DATA),--data '$(DATA)')

# ---------------------------------------------------------------- develop
setup: $(RUNTIME) $(FRONTEND) ## Install what the product needs and build the front end.

test: $(DEV) $(FRONTEND) manifest ## Install what tests need, then lint, types, arrows, SQL and tests.
	@scripts/install-browser
	@scripts/install-pooler
	@scripts/check

bench: $(DEV) $(FRONTEND) manifest ## Run benchmarks, one JSON line each (ONLY=name,name; some take DATA=file).
	@exec $(BIN)/python -m benchmarks $(if $(ONLY),--only '$(ONLY)') $(if $(DATA),--data '$(DATA)')

crash: $(DEV) ## Kill sending workers 300 times over 20,000 mails and count at the provider (ARGS="--seed 2").
	@exec $(BIN)/python -m benchmarks.crash $(ARGS)

simulate: $(DEV) ## Play 120 days of a shop with all flows on against the sandbox's oracle (ARGS="--days 30").
	@exec $(BIN)/python -m benchmarks.simulate $(ARGS)

check: test ## The same as test.

lint: $(DEV) manifest ## Style, types, arrows between packages, SQL.
	@scripts/lint

types: $(DEV) ## Types only.
	@$(BIN)/mypy

format: $(DEV) ## Format the Python code and repair what can be.
	@$(BIN)/ruff check --fix --quiet || true
	@$(BIN)/ruff format

manifest: $(RUNTIME) ## Parse the dbt project where it changed.
	@$(BIN)/ecomcrm setup manifest

migration: $(DEV) ## Write a migration from changed models (NAME="add a column").
	@PYTHONPATH=. $(BIN)/python scripts/new-migration "$(NAME)"

lock: $(VENV) ## Pin all dependencies anew, with hashes and without index addresses.
	$(COMPILE) --upgrade requirements/bootstrap.in -o requirements/bootstrap.txt
	$(COMPILE) --upgrade requirements/runtime.in -o requirements/runtime.txt
	$(COMPILE) --upgrade requirements/dev.in -o requirements/dev.txt

clean: ## Remove what set-up made here; the state folder stays.
	rm -rf .venv node_modules webapp/static/build dbt_project/target dbt_project/logs *.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# ---------------------------------------------------------------- made once
$(VENV): requirements/bootstrap.txt
	$(call say,"Making the Python environment")
	@scripts/make-venv
	@touch $@

$(RUNTIME): $(VENV) requirements/runtime.txt pyproject.toml
	$(call say,"Installing Python packages")
	@scripts/install-packages requirements/runtime.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --editable .
	@touch $@

$(DEV): $(RUNTIME) requirements/dev.txt
	$(call say,"Installing what tests need")
	@scripts/install-packages requirements/dev.txt
	@touch $@

$(NODE_MODULES): $(RUNTIME) package.json package-lock.json
	$(call say,"Installing front-end packages")
	@$(BIN)/python -m ops.node ci --no-audit --no-fund >&2
	@touch $@

$(FRONTEND): $(NODE_MODULES) $(FRONTEND_SOURCES)
	$(call say,"Building the front end")
	@$(BIN)/python -m ops.node run --silent build >&2
	@touch $@
