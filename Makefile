# `make` lists what can be made. Nothing is needed beforehand but Python 3.11 or newer, and make.

PYTHON ?= python3
VENV ?= .venv

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK := requirements/ci.txt
DEMO := .demo
SAMPLE := test_data/sample
EVERYTHING := --derivatives all --sourcedata

.DEFAULT_GOAL := help
.PHONY: help dev lock audit demo test lint types unit coverage validate check docs image-check screenshots bench scale faults
.PHONY: machine mutate examples oracle dist clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# ---------------------------------------------------------------- environments
# The stamps .run and .dev say what a virtual environment holds; a change of pyproject.toml makes them stale.

dev: $(VENV)/.dev  ## set up .venv: the package, editable, with all tools of development

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@echo "Setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: pyproject.toml $(VENV)/.venv
	@echo "Installing bids2xnat"
	@$(PIP) --editable '.[sample]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.venv
	@echo "Installing bids2xnat with the tools of development$(if $(LOCKED), as locked)"
	@$(if $(LOCKED),$(PIP) --require-hashes -r $(LOCK),$(PIP) --editable '.[dev]')
	@$(if $(LOCKED),$(PIP) --no-deps --no-build-isolation --editable .)
	@touch $(VENV)/.run $@

$(VENV)/.audit: $(VENV)/.venv
	@$(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5' 'pip-audit>=2.7'
	@touch $@

COMPILE := $(VENV)/audit/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

lock: $(VENV)/.audit  ## write requirements/*.txt anew: the versions that CI and the image use, with their hashes
	$(COMPILE) --upgrade --extra dev -o $(LOCK) pyproject.toml requirements/ci.in
	$(COMPILE) --upgrade -c $(LOCK) -o requirements/image.txt pyproject.toml
	$(COMPILE) --upgrade -c $(LOCK) -o requirements/build.txt requirements/build.in

audit: $(VENV)/.audit  ## ask the advisory service about the locked versions; this needs the network
	$(VENV)/audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off -r $(LOCK)

# ---------------------------------------------------------------- to try it

demo: $(VENV)/.run $(DEMO)/.fresh  ## push the sample dataset into an archive in .demo, verify, bring it back
	$(BIN)/python test_data/generate.py
	$(BIN)/bids2xnat push $(SAMPLE) DEMO --archive $(DEMO)/archive $(EVERYTHING)
	$(BIN)/bids2xnat verify $(SAMPLE) DEMO --archive $(DEMO)/archive $(EVERYTHING)
	@rm -rf $(DEMO)/restored
	$(BIN)/bids2xnat pull DEMO $(DEMO)/restored --archive $(DEMO)/archive
	diff -r --no-dereference $(SAMPLE) $(DEMO)/restored
	@echo
	@echo "It worked. What is where:"
	@echo "  $(SAMPLE)   the dataset"
	@echo "  $(DEMO)/archive      the archive that it was pushed into, as project DEMO"
	@echo "  $(DEMO)/restored     the dataset brought back, identical"
	@echo "Look at it:"
	@echo "  $(BIN)/bids2xnat serve --archive $(DEMO)/archive"
	@echo "  $(BIN)/bids2xnat plan $(SAMPLE) DEMO --archive $(DEMO)/archive $(EVERYTHING)"

# A source archive comes without it.
$(SAMPLE)/dataset_description.json: | $(VENV)/.run
	$(BIN)/python test_data/generate.py

# A demo begins with an empty archive when the sample or the mapping has changed; otherwise it goes on with the last one.
$(DEMO)/.fresh: test_data/generate.py xnat_bids_push/mapping.toml
	@rm -rf $(DEMO)
	@mkdir -p $(DEMO)
	@touch $@

examples: $(VENV)/.dev  ## take the datasets of ../shared, if they are there, through everything; UPDATE=1 rewrites the table
	$(BIN)/python -m tools.examples $(if $(UPDATE),--update) ../shared/bids-examples ../shared/real-bids

oracle: $(VENV)/.dev $(SAMPLE)/dataset_description.json  ## read the names of the datasets of ../shared, if they are there, beside pybids
	$(BIN)/python -m tools.oracle ../shared/bids-examples ../shared/real-bids $(SAMPLE)

bench: $(VENV)/.dev  ## count requests, and measure rates and reading, beside other tools where they are installed
	$(BIN)/python -m tools.bench_reading
	$(BIN)/python -m tools.bench
	$(BIN)/python -m tools.bench_server
	$(BIN)/python -m tools.bench_sending --sparse 20

scale: $(VENV)/.dev  ## measure pushes of several sizes, and fit the model of docs/explanation/scale.md anew
	$(BIN)/python -m tools.scale

# ---------------------------------------------------------------- to trust it

test: lint types docs validate check unit  ## everything that must hold: lint, types, docs, valid samples, and the tests

faults: $(VENV)/.dev  ## break every request of push, pull and remove in every way; half an hour
	$(BIN)/python -m tools.faults

machine: $(VENV)/.dev  ## push, edit, break, remove and undo in any order, against a model; EXAMPLES=200
	MACHINE_EXAMPLES=$(or $(EXAMPLES),200) $(BIN)/python -m pytest -q tests/test_machine.py

mutate: $(VENV)/.mutate  ## break the code a little, and see whether tests notice: a sample of all mutants; an hour
	$(BIN)/python -m tools.mutate

$(VENV)/.mutate: $(VENV)/.dev
	@$(PIP) 'mutmut>=3.8'
	@touch $@

lint: $(VENV)/.dev  ## style and layout of the code (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## strict types (mypy)
	$(BIN)/mypy

unit: $(VENV)/.dev  ## the tests alone
	$(BIN)/python -m pytest -q -n auto

coverage: $(VENV)/.dev  ## the tests with branch coverage, which takes half as long again
	$(BIN)/python -m pytest -q -n auto --cov --cov-report=term

validate: $(VENV)/.dev $(SAMPLE)/dataset_description.json  ## the sample, and the real scans of ../shared if they are there, by the official BIDS validator
	$(BIN)/python -m tools.validate $(SAMPLE) ../shared/real-bids

check: $(VENV)/.dev $(SAMPLE)/dataset_description.json  ## the sample, through push, verify and pull with an archive that is thrown away
	$(BIN)/bids2xnat check $(SAMPLE) $(EVERYTHING)

docs: $(VENV)/.dev  ## the documentation, into docs/_build/html; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -n -q -b html docs docs/_build/html

screenshots: $(VENV)/.dev  ## make the pictures of the documentation; those of pages need a Chromium
	$(BIN)/python -m tools.screenshots

image-check: $(VENV)/.dev $(SAMPLE)/dataset_description.json  ## what the Dockerfile says, done in a bare Debian root folder (as root, with mmdebstrap)
	$(BIN)/python -m tools.image

dist: $(VENV)/.dev $(SAMPLE)/dataset_description.json  ## wheel and source archive, into dist, looked into and tried afresh; PYTHONS="python3.11 python3.13"
	@rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m tools.dist $(PYTHONS)

clean:  ## remove what make made, and nothing else
	rm -rf $(DEMO) .image dist docs/_build mutants .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@if [ -e $(VENV)/.venv ]; then rm -rf $(VENV); fi
