# Assumes Python 3.11 or newer, make and a C++ compiler; everything else is installed into .venv by pip.
#
#   make demo    trained network -> RTL = golden model on 1000 images -> bitstream and report
#   make test    linter, formatter, types, tests
#   make clean   remove what was built; make distclean removes .venv as well
#
# PyPI's torch for Linux brings CUDA.  A smaller environment, from PyTorch's own CPU builds:
#   make test TORCH_OPTIONS="--index-url https://download.pytorch.org/whl/cpu"

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
TORCH_OPTIONS ?=
# Compiled WebAssembly is only valid for this environment's own wasmtime.
export YOWASP_CACHE_DIR := $(CURDIR)/$(VENV)/yowasp
# Two OpenMP pools that spin for each other are many times slower on small machines.
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 0

.PHONY: demo test lint setup clean distclean

NETWORKS := mnist-perceptron mnist-onehot mnist-multilevel

demo: setup
	for network in $(NETWORKS); do \
	    $(BIN)/python -m sim.run networks/$$network.npz --images 1000 || exit; done
	$(BIN)/python -m hw.build --board icebreaker

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(VENV)/stamp

# torch comes first and alone, so that its own wheel is chosen before anything else is resolved.  The oracles of the tests
# come last and without what they ask for, most of which they do not use.
$(VENV)/stamp: pyproject.toml tests/oracles.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, none was found; name one with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH_OPTIONS) torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,sim,synth,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/oracles.txt
	touch $@

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache

distclean: clean
	rm -rf $(VENV) stairspike.egg-info
