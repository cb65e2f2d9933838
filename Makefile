# make reproduce   the whole study on the sample corpus, report in runs/sample
# make test        lint, types and the test suite
# make test-long   the tests that take a minute or more each
# make audit       the locked packages beside lists of known vulnerabilities;
#                  needs a connection
# make benchmarks  speed beside the peers that are installed, in build/benchmarks
#
# All set up .venv first, with the versions of requirements.lock.
# Another interpreter: make PYTHON=/path/to/python3.12 test
# More arguments:      make reproduce ARGS="--rows redial,all"

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
# Without bytecode, every process of a study or of the tests compiles
# TensorFlow's files anew, for seconds.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
OUT ?= runs/sample
ARGS ?=

# What `make benchmarks` reads and writes; without DATA it builds the sample.
BENCH := build/benchmarks
DATA ?= $(BENCH)/data
VOCABULARY ?= $(BENCH)/sentencepiece.model
PAIRS ?= 900

.PHONY: help setup reproduce test test-long audit benchmarks format wheel lock clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

setup: $(INSTALLED)

reproduce: $(INSTALLED)
	$(BIN)/t5cr reproduce --corpus sample --out $(OUT) $(ARGS)

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	@# A file to one process: what its tests share is made once.
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: $(INSTALLED)
	$(BIN)/pytest -n 2 -m long $(ARGS)

# What needs no connection is in `make test`: tests/security. The auditor is no
# part of the lock, which it reads.
audit: $(INSTALLED)
	$(BIN)/pytest tests/security/test_dependencies.py
	$(BIN)/python -m venv --clear build/audit
	build/audit/bin/python -m pip install -q pip-audit
	build/audit/bin/pip-audit --strict --require-hashes --disable-pip \
	  --requirement requirements.lock $(ARGS)

# Nothing else should run meanwhile. The short ones come first.
benchmarks: $(INSTALLED) $(DATA) $(VOCABULARY)
ifneq ($(DATA),$(BENCH)/data)
ifeq ($(VOCABULARY),$(BENCH)/sentencepiece.model)
	@echo "make: name the vocabulary of DATA=$(DATA) too, with VOCABULARY=FILE" \
	  >&2; exit 1
endif
endif
	$(BIN)/python benchmarks/training.py --json $(BENCH)/training.json $(ARGS)
	$(BIN)/python benchmarks/mixture.py --tfds_data_dir $(DATA) \
	  --vocabulary $(VOCABULARY) --json $(BENCH)/mixture.json $(ARGS)
	$(BIN)/python benchmarks/decoding.py --json $(BENCH)/decoding.json $(ARGS)
	$(BIN)/python benchmarks/scoring.py --tfds_data_dir $(DATA) \
	  --vocabulary $(VOCABULARY) --examples $(PAIRS) \
	  --json $(BENCH)/scoring.json $(ARGS)
	$(BIN)/python benchmarks/table.py $(addprefix $(BENCH)/,training.json \
	  mixture.json decoding.json scoring.json) | tee $(BENCH)/table.md

$(BENCH)/data: $(INSTALLED)
	rm -rf $@.tmp $(BENCH)/raw
	$(BIN)/t5cr data sample --raw $(BENCH)/raw
	$(BIN)/t5cr data build --raw $(BENCH)/raw --tfds_data_dir $@.tmp
	$(BIN)/t5cr probes build --tfds_data_dir $@.tmp --min_count 5
	rm -rf $@
	mv $@.tmp $@

$(BENCH)/sentencepiece.model: $(BENCH)/data
	$(BIN)/t5cr data vocabulary --tfds_data_dir $< --out $@ --size 1536

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(INSTALLED)
	rm -rf build/lib build/bdist.* dist
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

# A pyenv shim answers to python3.12 even where that version is not installed,
# and Debian ships python3 without ensurepip: each candidate has to prove
# itself.
$(LOCKED): requirements.lock
	@found=; no_pip=; seen=; \
	for python in $(or $(PYTHON),python3.12 python3.11 python3); do \
	  version=$$($$python -c 'import sys; print(*sys.version_info[:2])' \
	    2>/dev/null) || continue; \
	  seen="$$seen $$python($${version/ /.})"; \
	  case "$$version" in "3 11"|"3 12") ;; *) continue ;; esac; \
	  if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	    no_pip=$${no_pip:-$$python}; continue; \
	  fi; \
	  found=$$python; break; \
	done; \
	if [ -z "$$found" ]; then \
	  if [ -n "$$no_pip" ]; then \
	    echo "make: $$no_pip comes without the modules venv and ensurepip;" \
	      "install them (Debian, Ubuntu: apt-get install python3-venv) or" \
	      "name another interpreter: make PYTHON=/path/to/python3.12"; \
	  else \
	    echo "make: the locked versions need Python 3.11 or 3.12;" \
	      "found:$${seen:- none}. Install one, or name it:" \
	      "make PYTHON=/path/to/python3.12"; \
	  fi >&2; \
	  exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$found"; \
	$$found -m venv --clear $(VENV)
	@# Two packages of the lock ship as source: they are built with the locked
	@# setuptools, so that nothing comes in unlocked.
	awk '/^[^ #]/ {keep = /^(packaging|setuptools|wheel)==/} keep' \
	  requirements.lock > $(VENV)/build.lock
	@echo "Installing the locked versions, a few minutes the first time"
	$(PIP) install -q --require-hashes -r $(VENV)/build.lock
	$(PIP) install -q --require-hashes --no-compile --no-build-isolation \
	  -r requirements.lock
	touch $@

$(INSTALLED): $(LOCKED) pyproject.toml setup.py
	$(PIP) install -q --no-deps --no-build-isolation --editable .
	touch $@

# Takes some minutes: every file of every package is asked for its hash.
lock: $(INSTALLED)
	$(BIN)/python -m venv --clear build/lock
	build/lock/bin/python -m pip install -q pip-tools
	build/lock/bin/pip-compile --quiet --upgrade --extra beam --extra dev \
	  --extra docs \
	  --generate-hashes --allow-unsafe --strip-extras --no-header \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
