# Every target sets itself up: python3 (3.11 or newer) with its venv module, and make, are all that is needed.
#
#   make run      install the service and start it on http://127.0.0.1:8000
#   make test     install everything and run the tests, with the coverage that is required
#   make setup    install everything into .venv: service, training, tests
#   make bench    start the service, drive it over loopback, and print how fast it is beside OpenCV
#   make check    lint, check the formatting and the types
#   make format   format, and fix what can be fixed by itself
#   make clean    remove what these targets made; training runs and checkpoints stay

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test setup bench check format clean

run: $(VENV)/service.stamp
	$(BIN)/python -m app

test: $(VENV)/development.stamp
	$(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=90

setup: $(VENV)/development.stamp

bench: $(VENV)/development.stamp
	$(BIN)/python -m tests.bench

check: $(VENV)/development.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/development.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage .hypothesis
	find app model_core training tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; PYTHON=... names one.")'
	$(PYTHON) -m venv $(VENV)

# The stamps record that an installation succeeded; it is repeated when what it was made from changes.
$(VENV)/service.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the service into $(VENV). PyTorch is large: the first time takes minutes."
	$(INSTALL) --editable .
	$(BIN)/python -m model_core
	@touch $@

$(VENV)/development.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing service, training and tests into $(VENV). PyTorch is large: the first time takes minutes."
	$(INSTALL) --editable '.[training,dev]'
	$(BIN)/python -m model_core
	@touch $@ $(VENV)/service.stamp
