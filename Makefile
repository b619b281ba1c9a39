# `make run` starts Chronos, `make test` tests it; `make help` lists the rest.
# Nothing has to be installed first but Python 3.11 or newer. Works with GNU Make 3.81 (macOS).

.DEFAULT_GOAL := help
.PHONY: help run cluster test proof torture simulate-long mutants-discover nightly lint format types contracts deps check bench reference services engine stubs lock clean

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input --quiet
COMPILE := $(VENV)/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate

WORKERS ?= auto
SEED ?= 1
MINUTES ?= 10
HOURS ?= 8
PROFILE ?= standard
NODES ?= 1
ARGS ?=
# Set, `make test` leaves out what it only samples: `make proof` has just done all of that.
PROVEN ?=
# What talks HTTP: in the proof it talks to an API process.
THROUGH_PROCESSES := $(addprefix tests/acceptance/test_,api.py access.py chronosctl.py explain.py long_jobs.py metrics.py openapi.py start.py)

# What samples in `make test` what it does whole here.
DOSED := tests/simulation tests/mutants tests/torture tests/crash tests/cluster_faults tests/acceptance/test_package.py tests/unit/verify
DOSED += tests/acceptance/rpr/test_endurance.py $(addprefix tests/unit/timing/test_,schedule_against_cronsim.py schedule_against_brute_force.py business_against_brute_force.py)
DOSED += tests/unit/repeater/modes/test_every_mode.py tests/unit/store/test_keeping_properties.py tests/unit/scheduler/test_changes_property.py
DOSED += tests/unit/cluster/etcd/test_takeover.py tests/conformance/cluster/test_replicated_log.py

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' Makefile

run: $(VENV)/.runtime ## Start one node with a demo on http://127.0.0.1:8080, data in ./data
	@exec $(VENV)/bin/chronos server --demo --data-dir data $(ARGS)

cluster: $(VENV)/.runtime engine ## Three nodes on this machine, a load, kill -9 of the leader: watch it go on (ARGS=--stay keeps it)
	@exec $(PY) -m bench.showcase $(ARGS)

test: $(VENV)/.dev ## Run every test that needs no optional service
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal $(if $(PROVEN),$(addprefix --ignore=,$(DOSED))) $(ARGS)

proof: $(VENV)/.dev ## Simulate all seeds, replay all mutants, crash, kill, fuzz, install anew, as CI does: `make test` samples
	@CHRONOS_PROOF=1 CHRONOS_FUZZ_EXAMPLES=25 $(PY) -m pytest -n $(WORKERS) --dist worksteal $(DOSED) $(THROUGH_PROCESSES) $(ARGS)
	@CHRONOS_PROOF=1 CHRONOS_TEST_API_PROCESSES=0 $(PY) -m pytest -n $(WORKERS) --dist worksteal tests/acceptance/test_openapi.py $(ARGS)

simulate-long: $(VENV)/.dev ## Run whole servers on seed after seed until ^C (SEED=1 MINUTES=10 PROFILE=standard NODES=1)
	@exec $(PY) -m chronos.testing.simulate --forever --seed $(SEED) --minutes $(MINUTES) --profile $(PROFILE) --nodes $(NODES)

mutants-discover: $(VENV)/.dev ## Look for a run that finds each planted bug (ARGS="--help" says more)
	@$(PY) -m tests.mutants.discover $(ARGS)

nightly: $(VENV)/.dev ## What is too long for every change: hours of seeds, crashes, kills and planted bugs (HOURS=8)
	@HOURS=$(HOURS) .ci/nightly

torture: $(VENV)/.dev ## Crash disks, kill servers and do everything to a cluster, for about an hour; not what CI does
	@CHRONOS_CRASH_TIMES=50 CHRONOS_CRASH_SEED=1000 $(PY) -m pytest -n $(WORKERS) --timeout 0 tests/crash $(ARGS)
	@CHRONOS_TORTURE_CYCLES=100 $(PY) -m pytest -n $(WORKERS) --timeout 0 tests/torture $(ARGS)
	@CHRONOS_CLUSTER_FAULTS=all $(PY) -m pytest -n 2 tests/cluster_faults $(ARGS)

lint: $(VENV)/.dev ## Look for what ruff knows to be wrong
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

format: $(VENV)/.dev ## Let ruff lay out the code
	@$(VENV)/bin/ruff check --fix-only .
	@$(VENV)/bin/ruff format .

types: $(VENV)/.dev ## Check the types, strictly
	@$(VENV)/bin/mypy

contracts: $(VENV)/.dev ## Check who imports whom
	@$(VENV)/bin/lint-imports

deps: $(VENV)/.dev ## Check that what is imported is declared, and the other way round
	@$(VENV)/bin/deptry src

check: lint types contracts deps proof test ## All of the above

bench: $(VENV)/.dev ## Measure against the budget
	@$(PY) -m bench $(ARGS)

reference: $(VENV)/.dev ## Write the parts of the reference that come from the code
	@CHRONOS_WRITE_REFERENCE=1 $(PY) -m pytest tests/architecture/test_cli_reference.py tests/unit/cli/rpr/test_live_picture.py tests/mutants/test_bank.py -k 'not caught'

services: ## Install what the integration tests talk to (as root on Debian)
	@.ci/services

engine: ## Make the etcd that a cluster runs on, for development and tests: .cache/engine/etcd
	@.ci/engine

stubs: $(VENV)/.dev ## Write what is spoken with etcd as Python, from rpc.proto
	@cd src && $(abspath $(PY)) -m grpc_tools.protoc -I . --python_out=. --pyi_out=. chronos/cluster/etcd/rpc.proto

lock: $(VENV)/.dev ## Pin every dependency anew, with hashes
	@test -x $(VENV)/bin/uv || $(PIP) install uv
	@$(COMPILE) pyproject.toml --upgrade -o requirements/runtime.txt
	@$(COMPILE) pyproject.toml --group dev -c requirements/runtime.txt --upgrade -o requirements/dev.txt
	@$(COMPILE) --group build -c requirements/dev.txt -o requirements/build.txt

clean: ## Remove what was installed and cached; ./data stays
	rm -rf $(VENV) .cache/engine .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is touched last, so that an interrupted step is done again and a finished one is not.

$(VENV)/.made:
	@python=`.ci/find-python` && echo "Making $(VENV) with $$python" && "$$python" -m venv --clear $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.made pyproject.toml requirements/build.txt requirements/runtime.txt
	@echo "Installing what Chronos needs to run (once; about a minute)"
	@$(PIP) install --require-hashes -r requirements/build.txt
	@$(PIP) install --require-hashes -r requirements/runtime.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt
	@echo "Installing what the tests need (once; about a minute)"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@
