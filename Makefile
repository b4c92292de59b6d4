# Two commands matter: make demo, make test. Both set up .venv first, from the locked packages; a second run is quick.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test quick faults bench lint lock clean venv venv-test venv-machine machine

PYTHON ?= python3
ARGS ?=
ROUNDS ?= 100

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1\t/p' Makefile | expand -t 10

demo: venv ## host the shipped notebook with the shipped data; ends with its address
	@.venv/bin/kaosd demo

test: venv-machine ## run all tests, or some: make test ARGS=tests/test_settings.py
ifeq ($(ARGS),)
	@$(PYTEST) $(BESIDE_EACH_OTHER) --durations=50 $(filter-out $(ALONE),$(TESTS))
	@$(PYTEST) --durations=50 $(ALONE)
else
	@$(PYTEST) $(ARGS)
endif

quick: venv-test ## run the tests that need no root, Debian package, JupyterLab or whole daemon, in two minutes
	@$(PYTEST) $(BESIDE_EACH_OTHER) -m "not not_quick" $(filter-out $(ALONE),$(TESTS))

PYTEST := .venv/bin/python -m pytest -p tests.no_skips
BESIDE_EACH_OTHER := --numprocesses auto --dist loadfile --no-loadscope-reorder
TESTS = $(sort $(wildcard tests/test_*.py) $(patsubst %/,%,$(dir $(wildcard tests/*/test_*.py))))
# these start whole daemons, engines and machines, or stop what they find: one after the other
ALONE := tests/browser tests/e2e tests/engines tests/faults tests/systemd

faults: venv-machine ## work under faults, and tell what was lost: make faults ROUNDS=1000 [SEED=7 [BESIDE=2]] [ENGINE=docker]; or LONG=1
	@.venv/bin/python -m tests.faults.$(if $(LONG),long $(LONG),$(if $(ENGINE),away $(ENGINE),rounds) $(ROUNDS) $(SEED) $(BESIDE))

bench: venv-machine ## measure against what people would use instead: make bench [QUICK=1] [ONLY=saves,idle] [OUT=build/bench]
	@.ci/bench-peers
	@.venv/bin/python -m tests.bench $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY)) $(or $(OUT),build/bench)

lint: venv-test ## style, types, the import contracts and the map of the code
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PYTEST) -q tests/test_language.py tests/test_map.py tests/test_settings_page.py tests/test_structure.py

lock: venv ## write the locks anew from pyproject.toml; newer versions: make lock ARGS=--upgrade
	@.venv/bin/uv pip compile -q $(ARGS) $(LOCKING) --group build -o requirements.lock pyproject.toml
	@.venv/bin/uv pip compile -q $(ARGS) $(LOCKING) --group build --group test -c requirements.lock \
		-o tests/requirements.lock pyproject.toml

# Every platform and Python in one file, each package by its hash, and no address of a package index.
LOCKING := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url

venv:
	@PYTHON="$(PYTHON)" .ci/setup runtime

venv-test:
	@PYTHON="$(PYTHON)" .ci/setup test

venv-machine: machine venv-test

machine: # the Debian packages that tests of engines, browsers and systemd need
	@PYTHON="$(PYTHON)" .ci/setup machine

clean: ## remove what the commands above made, but not the demo's notebook or state
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	@find kaosd tests -name __pycache__ -type d -prune -exec rm -rf {} +
