# One definition of every task: people, hooks and CI call these targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 8501
COUNT ?= 100
.DEFAULT_GOAL := help
# One more than there are cores: tests wait for children and pages.
WORKERS = $(shell $(BIN)/python -c 'import os; print(len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else os.cpu_count() + 1)')
.PHONY: run test slow check format bench browser kills orphans recipes demo lock wheel help clean

$(VENV)/.runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, found " + sys.version.split()[0] + "; choose one with make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what the dashboard needs (several GB the first time, some minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.development: requirements-dev.txt $(VENV)/.runtime
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

run: $(VENV)/.runtime  ## Set up if needed and serve the dashboard on http://127.0.0.1:8501 (PORT=...)
	@$(BIN)/python -m streamlit run app.py --server.port $(PORT)

test: $(VENV)/.development  ## Set up if needed and run the test suite (without the slow tests and the browser)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

slow: $(VENV)/.development  ## Run the tests that make test leaves out: whole ways, large networks
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m slow

browser: $(VENV)/.development  ## Run the browser tests (needs Chromium; CHROMIUM_PATH=...)
	@$(BIN)/python -m pytest -m browser tests/e2e

kills: $(VENV)/.development  ## Kill and resume trainings at random moments (COUNT=100)
	@$(BIN)/python -m tests.checks.kills --count $(COUNT)

orphans: $(VENV)/.development  ## Start, stop and kill trainings and servers, and look for what is left
	@$(BIN)/python -m tests.checks.orphans

check: $(VENV)/.development  ## Format, lint, floors of the library, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

format: $(VENV)/.development  ## Write the format and the fixable lint
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.development  ## Measure: ratios in one run on this machine
	@$(BIN)/python -m tests.benchmarks

recipes: $(VENV)/.runtime  ## Run every published experiment in small beside its published figures (AGAIN=1 repeats finished ones)
	@$(BIN)/python -m lib recipes run all --budget small $(if $(AGAIN),--again)

demo: $(VENV)/.runtime  ## Record the demo anew that ships with the program (about ten minutes of two cores)
	@$(BIN)/python -m lib demo record

lock: $(VENV)/.development  ## Write requirements.lock: what is installed here, and the hash of every file of it
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	@$(BIN)/python -m pip freeze --exclude-editable | sed -n 's/^\([^ ]*==[^+ ]*\).*/\1/p' > $(VENV)/installed.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command 'make lock' --constraint $(VENV)/installed.txt requirements.txt --output-file requirements.lock

wheel: $(VENV)/.runtime  ## Build dist/transferscope-*.whl: the whole program, with pages and assets
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

clean:  ## Remove the virtual environment and tool caches (data stays)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'
