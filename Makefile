# `make demo` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup demo test check check-style check-types check-tests docs clean

setup: $(INSTALLED)

# PyTorch goes first and alone: with plain pip and this pin it is the CPU build.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all,dev]"
	@touch $@

demo: setup
	$(BIN)/fogline up examples/demo-up.toml --fogs 2 --devices 6 --serve --board

# Each process takes tests that lie together, so that what a module shares is set up once. A third one for two cores:
# tests of real nodes wait for most of their time.
test: setup
	$(BIN)/python -m pytest -n 3 --dist worksteal

# The two type checks, which take the time, run beside each other.
check: setup
	$(MAKE) --jobs=2 --output-sync check-types check-tests check-style

check-types:
	$(BIN)/basedpyright

check-tests:
	$(BIN)/basedpyright -p tests/pyrightconfig.json
	$(BIN)/basedpyright -p benchmarks/pyrightconfig.json

check-style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# The documents as a site, with references made from the code: open build/site/index.html.
docs: setup
	$(BIN)/python -m docs.site

clean:
	rm -rf $(VENV) build runs .pytest_cache .hypothesis .ruff_cache
