# On a fresh machine: `make demo` runs the main job, `make test` all tests.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# HEADSTART_CONSTRAINTS=constraints.txt pins every version, as CI does.
CONSTRAINTS ?=
PIN = $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

.PHONY: demo test check format docs bench bench-classic clean

$(VENV)/.base: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(PIN) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet $(PIN) --editable '.[all,dev]'
	touch $@

demo: $(VENV)/.base
	$(BIN)/headstart demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The site, in build/site: open index.html there. Warnings are errors, and nothing is fetched.
docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.dev
	$(BIN)/python bench/extraction.py

bench-classic: $(VENV)/.dev
	$(BIN)/python bench/classic.py

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache
