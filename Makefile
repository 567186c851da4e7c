# The commands of this repository. A virtual environment is made in .venv by the first one that needs it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BACKENDS := .venv-backends
BACKENDS_INSTALLED := $(BACKENDS)/.installed
NPM := build/npm
WEB := build/web
WEB_SOURCES := $(wildcard export/web/*.html export/web/*.css export/web/*.js)
PORT ?= 8000
DATA ?= ../shared/data
REPORTS ?= reports
BUDGET_MINUTES ?= 30

.PHONY: help install demo docs test test-long test-backends lint lock report web web-page web-test clean

help:
	@echo "make demo              the whole job on synthetic videos: shards, training, evaluation, export, prediction"
	@echo "make demo VIDEOS=DIR   the same on your own DIR/<class>/<video>"
	@echo "make test              linters and tests; test-long: the ones that take minutes each"
	@echo "make docs              the documentation, in build/docs"
	@echo "make test-backends     the same logits under TensorFlow, JAX and PyTorch, in an environment of their own"
	@echo "make web               builds the page that runs a model in the browser, and serves it (MODEL=model.tflite)"
	@echo "make web-test          the page in a real browser (Chromium)"
	@echo "make report            the paper's tables, measured on DATA/ucf101-6 and DATA/utd-depth, in BUDGET_MINUTES each"
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

docs: $(INSTALLED)
	$(BIN)/sphinx-build -W --keep-going -q -b html -d build/doctrees docs build/docs
	@echo "The documentation: build/docs/index.html"

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	@echo $(BIN)/pydoclint
	@! $(BIN)/pydoclint deepvideo_tf pipelines export 2>&1 | grep -vE '^$$|^[a-z0-9_/]+\.py$$|DOC(108|403)|No violations'

test: lint
	$(BIN)/python -m pytest -m "not long and not web" --numprocesses=2 --dist=loadfile

test-long: $(INSTALLED)
	$(BIN)/python -m pytest -m "long and not web"

$(BACKENDS_INSTALLED): requirements.lock requirements-backends.txt setup.py pyproject.toml
	"$(PYTHON)" -m venv --clear $(BACKENDS)
	$(BACKENDS)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r requirements.lock -r requirements-backends.txt
	$(BACKENDS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

test-backends: $(BACKENDS_INSTALLED)
	$(BACKENDS)/bin/python -m pytest tests/models/test_backends.py

$(NPM)/.installed: export/web/package.json export/web/package-lock.json
	@mkdir -p $(NPM)
	cp $^ $(NPM)
	npm ci --prefix $(NPM) --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

# LiteRT.js's own files lie beside the page, so that the browser fetches nothing from elsewhere.
$(WEB)/.built: $(NPM)/.installed $(WEB_SOURCES)
	@mkdir -p $(WEB)/litert/wasm
	cp $(WEB_SOURCES) $(WEB)
	cp $(NPM)/node_modules/@litertjs/core/dist/index.js $(WEB)/litert/core.js
	cp $(NPM)/node_modules/@litertjs/wasm-utils/dist/index.js $(WEB)/litert/wasm-utils.js
	cp $(foreach kind,litert_wasm litert_wasm_compat,$(NPM)/node_modules/@litertjs/core/wasm/$(kind)_internal.*) \
		$(WEB)/litert/wasm
	touch $@

web-page: $(WEB)/.built
	$(if $(MODEL),cp "$(MODEL)" $(WEB)/model.tflite,rm -f $(WEB)/model.tflite)

web: web-page
	@"$(PYTHON)" -c 'import socket, sys; sys.exit(socket.socket().connect_ex(("127.0.0.1", $(PORT))) == 0 and "PORT=$(PORT) is in use: make web PORT=...")'
	@echo "The page: http://localhost:$(PORT)/ (Ctrl-C ends it)"
	@"$(PYTHON)" -m http.server --bind 127.0.0.1 --directory $(WEB) $(PORT)

web-test: $(INSTALLED) $(WEB)/.built
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-web.txt
	$(BIN)/python -m pytest -m web

# Each set's slow fusion is the trained net that the other one fine-tunes in Table 3. The videos may not be published, so
# the pages show no frames of them.
define REPORT_ON
$(BIN)/deepvideo-report --preset=$(1) --data_dir="$(DATA)/$(1)" --report_dir=$(REPORTS)/$(1) \
	--budget_minutes=$(BUDGET_MINUTES) --noframes
endef

report: $(INSTALLED)
	$(call REPORT_ON,ucf101-6)
	$(call REPORT_ON,utd-depth) --init_from=$(REPORTS)/ucf101-6/runs/slow_fusion
	$(call REPORT_ON,ucf101-6) --init_from=$(REPORTS)/utd-depth/runs/slow_fusion
	set -e; for set in ucf101-6 utd-depth; do \
		mkdir -p docs/results/$$set; \
		for file in report.html report.md report.json table_1.png; do \
			cp $(REPORTS)/$$set/$$file docs/results/$$set; \
		done; \
	done

lock: $(INSTALLED)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --extra dev --python-version 3.11 \
		setup.py requirements.in --output-file requirements.lock

clean:
	rm -rf $(VENV) $(BACKENDS) build dist *.egg-info
