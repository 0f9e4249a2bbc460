# make quickstart   train a linker on the built-in data and link an article with it
# make test         lint, types and all tests, as CI runs them
# Both make .venv first. Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WITH_ENCODER := $(VENV)/.installed-quickstart
SOURCES := pyproject.toml setup.py constraints.txt

.PHONY: quickstart test lint types clean

quickstart: $(WITH_ENCODER)
	$(BIN)/hf-blink quickstart

test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

$(WITH_ENCODER): $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e ".[quickstart]"
	touch $@

$(INSTALLED): $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e ".[quickstart,test,benchmark,serve,demo]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info quickstart-linker runs .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
