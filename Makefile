# make demo: everything set up, main job run.   make test: everything set up, all tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint unit bench bench-check notebooks screenshots diagram domains constraints clean

demo: $(VENV)/installed
	$(BIN)/bwm demo

test: lint $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 4 --dist loadgroup

unit: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup tests/unit

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# At full size: unit metrics and histograms, from files to rows, inserts, and twelve questions, each
# beside its alternatives; as a table and a plot in tests/benchmarks/.
bench: $(VENV)/installed-dev
	$(BIN)/python -m tests.benchmarks

# Ratios of times, against those in tests/benchmarks/ratios.json.
bench-check: $(VENV)/installed-dev
	$(BIN)/python -m tests.benchmarks.check

# What the notebooks and the cookbook show, stored anew from the demo.
notebooks: $(VENV)/installed-dev
	$(BIN)/python -m tests.support.notebooks
	$(BIN)/python -m tests.support.cookbook

# The pictures of the viewer in README, from the demo.
screenshots: $(VENV)/installed-dev
	$(BIN)/python -m tests.support.screenshots

diagram: $(VENV)/installed-dev
	$(BIN)/python -m populate diagram --write schemas/README.md

domains: $(VENV)/installed-dev
	$(BIN)/python -m tests.support.domains

constraints:
	.ci/pin

clean:
	rm -rf $(VENV)

$(VENV)/made:
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 10) <= sys.version_info < (3, 14) else f"Python 3.10 to 3.13 is needed, this is {sys.version.split()[0]}: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv $(VENV)
	touch $@

# The pinned libraries of an extra (those of the project are among them), each compared with its hash, and then the project itself.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
define install
grep -Ew '# .*($(1)|build)' constraints.txt >$(VENV)/pins
$(PIP) --require-hashes --only-binary :all: -r $(VENV)/pins
$(PIP) --no-deps --no-build-isolation -e .
endef

$(VENV)/installed: $(VENV)/made pyproject.toml constraints.txt
	$(call install,view)
	touch $@

$(VENV)/installed-dev: $(VENV)/made pyproject.toml constraints.txt
	$(call install,dev)
	touch $@ $(VENV)/installed
