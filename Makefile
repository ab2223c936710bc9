# Works on a fresh machine with Python >= 3.11 and make. Everything lives in .venv;
# only relative paths are used, so a checkout in a folder with spaces is fine.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PY    := .venv/bin/python
STAMP := .venv/.installed
# Three workers keep two cores busy: half of the time a test waits for a server or a process of its own. loadfile keeps a
# file's servers on one worker.
PYTEST_ARGS ?= -n 3 --dist loadfile

# What rests on the shape of the SDK: its instances, converters, workers, clients, histories.
OLDEST       := 1.31
OLDEST_PY    := .venv-oldest/bin/python
OLDEST_STAMP := .venv-oldest/.installed
OLDEST_TESTS ?= $(addprefix tests/compat/test_,$(addsuffix .py,activities activity_cancellation activity_operators \
    async_completion cancel children continue_as_new converters histories interceptors local_activities metrics \
    patching queries sandbox signals start task_failures updates visibility workers))

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

demo: $(STAMP) ## the checkout flow on an embedded Postgres, killed in the middle
	@$(PY) -m examples.checkout.demo $(DEMO_ARGS)

test: $(STAMP) ## the whole test suite (PYTEST_ARGS="-k signal" to narrow it)
	@$(PY) -m pytest $(PYTEST_ARGS)

test-oldest: $(OLDEST_STAMP) ## behaviour on the oldest temporalio that is supported, in a venv of its own
	@$(OLDEST_PY) -m pytest $(PYTEST_ARGS) -m dbos $(OLDEST_TESTS)

nightly: $(STAMP) ## the long variants: hundreds of kills, thousands of examples
	@$(PY) -m pytest -n 2 --dist loadfile -m nightly --timeout 1800

lint: $(STAMP) ## ruff, mypy --strict, import layers
	@status=0; \
	$(PY) -m ruff check . || status=1; \
	$(PY) -m ruff format --check . || status=1; \
	$(PY) -m mypy || status=1; \
	.venv/bin/lint-imports --no-logo || status=1; \
	exit $$status

format: $(STAMP) ## let ruff put things right
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

conformance: $(STAMP) ## Temporal's own tests against this engine (SDK=checkout of sdk-python; CONFORMANCE_ARGS=--help)
	@$(PY) -m tests.conformance $(if $(SDK),--sdk '$(SDK)') $(CONFORMANCE_ARGS)

bench: $(STAMP) ## side by side with DBOS and the Temporal dev server (BENCH_ARGS=--help)
	@$(PY) -m benchmarks $(BENCH_ARGS)

clean: ## remove .venv and caches
	@rm -rf .venv .venv-oldest .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(STAMP): pyproject.toml
	@python=; for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	    if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$p; break; fi; done; \
	if [ -z "$$python" ]; then echo "make: needs Python 3.11 or newer on the PATH as python3 (or python3.11, ...)" >&2; exit 1; fi; \
	if ! $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "setting up .venv with $$($$python --version)"; rm -rf .venv; \
	    $$python -m venv .venv || { rm -rf .venv; \
	        echo "make: python3 -m venv failed (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }; fi
	@echo "installing dbos-compat and its development tools into .venv"
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[embedded,shadow,dev]'
	@touch $(STAMP)

$(OLDEST_STAMP): $(STAMP)
	@echo "installing dbos-compat on temporalio $(OLDEST) into .venv-oldest"
	@$(PY) -m venv --clear .venv-oldest
	@$(OLDEST_PY) -m pip install --quiet --disable-pip-version-check --editable '.[embedded,dev]' 'temporalio==$(OLDEST).*'
	@touch $(OLDEST_STAMP)

.PHONY: help demo test test-oldest nightly lint format conformance bench clean
