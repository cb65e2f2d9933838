# make reproduce   the whole study on the sample corpus, report in runs/sample
# make test        lint, types and the test suite
#
# Both set up .venv first, with the versions of requirements.lock.
# Another interpreter: make PYTHON=/path/to/python3.12 test
# More arguments:      make reproduce ARGS="--rows redial,all"

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
OUT ?= runs/sample
ARGS ?=

.PHONY: help setup reproduce test format wheel lock clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

setup: $(INSTALLED)

reproduce: $(INSTALLED)
	$(BIN)/t5cr reproduce --corpus sample --out $(OUT) $(ARGS)

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pytest -n 2 $(ARGS)

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(INSTALLED)
	rm -rf build dist
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
	  --generate-hashes --allow-unsafe --strip-extras --no-header \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
