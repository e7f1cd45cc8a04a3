# make demo   set up .venv and compare five methods on the embedded digits
# make test   set up .venv and run the tests, but for the slow ones
# make test-slow  two processes, kills, fuzzing, a browser
# make bench  speed and memory against a bare PyTorch loop, of every method, and of reading data
# make cards  the pages of docs/methods, from the methods' docstrings
# make results  every run of results/ (three hours on two cores; resumes)

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
# One thread a process: two on shared cores are many times slower than one.
export OMP_NUM_THREADS ?= 1
export COUNTERPOISE_DATA ?= $(abspath ../shared/data)

.PHONY: setup demo test test-slow bench cards results lint types clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		$(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.[dev]'
	touch $@

DEMO_EPOCHS ?= 15
DEMO_SEEDS ?= 2
DEMO_OUT ?= demo

demo: setup
	$(BIN)/counterpoise compare digits --methods joint,unimodal,multi-loss,modality-dropout,mla \
		--seeds $(DEMO_SEEDS) --epochs $(DEMO_EPOCHS) --jobs 2 --out $(DEMO_OUT)

# Processes that share the tests; each loads torch.
TEST_JOBS ?= 2

test: setup
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist worksteal

test-slow: setup
	$(BIN)/python -m pytest -m slow

bench: setup
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/methods.py
	$(BIN)/python benchmarks/data.py

cards: setup
	$(BIN)/python -m counterpoise.methods.cards docs/methods

results: setup
	$(BIN)/python results/make.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo
