# make demo   set up .venv and compare five methods on the embedded digits
# make test   set up .venv and run the tests, but for the slow ones
# make test-slow  two processes, kills, fuzzing, a browser
# make lowest  a smoke of the tests with the lowest versions that pyproject names, in .venv-lowest
# make lint  ruff, codespell and the layers of imports; make types: mypy
# make map    the map of the rooms in CONTRIBUTING.md, from the folders' docstrings
# make bench  speed and memory against a bare PyTorch loop, of every method, of reading data,
#             of exports and of serving
# make cards  the pages of docs/methods, from the methods' docstrings
# make results  every run of results/ (three hours on two cores; resumes)

PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
# One thread a process: two on shared cores are many times slower than one.
export OMP_NUM_THREADS ?= 1
export COUNTERPOISE_DATA ?= $(abspath ../shared/data)

.PHONY: setup demo test test-slow lowest bench cards map results lint types clean

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
	$(BIN)/python benchmarks/tables.py
	$(BIN)/python benchmarks/subsets.py
	$(BIN)/python benchmarks/export.py
	$(BIN)/python benchmarks/serve.py
	$(BIN)/python benchmarks/jobs.py

# Only torch is newer: its old builds bring CUDA. See tests/lowest.py.
LOWEST := .venv-lowest
SMOKE := tests/data/preparation tests/data/readers tests/report tests/cli tests/core \
	tests/encoders tests/test_estimator.py tests/test_scikit_learn.py tests/test_contract.py

lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) tests/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
		$(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -c $(LOWEST)/constraints.txt \
		-e '.[stream,media,text]' pytest hypothesis pytest-xdist
	$(LOWEST)/bin/python -m pytest -n $(TEST_JOBS) --dist worksteal -W ignore $(SMOKE)

map: setup
	$(BIN)/python tests/rooms.py

cards: setup
	$(BIN)/python -m counterpoise.methods.cards docs/methods
	$(BIN)/python tests/datasheets.py

results: setup
	$(BIN)/python results/make.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(LOWEST) demo
