# The commands of this repository. A virtual environment is made in .venv by the first one that needs it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BACKENDS := .venv-backends
BACKENDS_INSTALLED := $(BACKENDS)/.installed

.PHONY: help install demo test test-long test-backends lint lock clean

help:
	@echo "make demo              the whole job on synthetic videos: shards, training, evaluation, export, prediction"
	@echo "make demo VIDEOS=DIR   the same on your own DIR/<class>/<video>"
	@echo "make test              linters and tests; test-long: the ones that take minutes each"
	@echo "make test-backends     the same logits under TensorFlow, JAX and PyTorch, in an environment of their own"
	@echo "make lock              pins anew what development uses"

install: $(INSTALLED)

$(INSTALLED): requirements.lock setup.py pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11) and "deepvideo-tf needs Python 3.11 or later: make PYTHON=...")'
	"$(PYTHON)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(INSTALLED)
	$(BIN)/deepvideo-demo $(if $(VIDEOS),--video_root="$(VIDEOS)")

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -m "not long" --numprocesses=2 --dist=loadfile

test-long: $(INSTALLED)
	$(BIN)/python -m pytest -m long

$(BACKENDS_INSTALLED): requirements.lock requirements-backends.txt setup.py pyproject.toml
	"$(PYTHON)" -m venv --clear $(BACKENDS)
	$(BACKENDS)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r requirements.lock -r requirements-backends.txt
	$(BACKENDS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

test-backends: $(BACKENDS_INSTALLED)
	$(BACKENDS)/bin/python -m pytest tests/models/test_backends.py

lock: $(INSTALLED)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --extra dev --python-version 3.11 \
		setup.py requirements.in --output-file requirements.lock

clean:
	rm -rf $(VENV) $(BACKENDS) build dist *.egg-info
