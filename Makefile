# The same words on the desk and in CI. Everything runs in .venv; the only step outside it is `make system`.
# What a step says goes to standard error: the standard output of `make demo` belongs to the demo.

PYTHON ?= python3
ARGS ?=
VENV_PYTHON := .venv/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Debian packages, for `make system`:
#   python3-venv        makes .venv (asked for only where the chosen Python lacks it)
#   e2fsprogs           tests/powercut: makes, mends and reads the file system whose power is cut
#   fuse3               tests/powercut: shows the logged disk to the kernel
#   libx11-data         what dead keys type; xkbcommon reads it
#   libxkbcommon0       what a key types on each layout: for scanners that play a keyboard
#   mosquitto           the broker of a venue: tests run it from the files in deploy/
#   mount               tests/powercut: loop devices
#   openssl             certificates for the tests of the broker's files
#   postgresql          the ledger's other database: the bridge's tests run on both
#   qemu-system-common  tests/powercut: qemu-storage-daemon, the disk that logs every block written
#   systemd             systemd-analyze, which reads the units of systemd/ as systemd does
#   xkb-data            the layouts of libxkbcommon0
SYSTEM_PACKAGES := e2fsprogs fuse3 libx11-data libxkbcommon0 mosquitto mount openssl postgresql qemu-system-common systemd xkb-data

.DEFAULT_GOAL := help
.PHONY: help demo test hil hil-full hil-system hil-full-system lint bench lock system clean

help:
	@echo 'make demo    the whole way on this machine: type or scan codes   (ARGS="--alone --tickets FILE")'
	@echo 'make test    lint, then all tests with branch coverage           (ARGS="-k lane" to choose)'
	@echo 'make hil     the installed gate on a real kernel, in a machine of its own (ARGS="-k alarm" to choose)'
	@echo 'make hil-full    the same, then on two machines with an ARM processor, one of them a Pi 3'
	@echo 'make lint    ruff and mypy only'
	@echo 'make bench   every figure beside a floor and a peer'
	@echo 'make system  the Debian packages that the deepest tests use, as root; hil-system, hil-full-system: those of make hil, hil-full'
	@echo 'make lock    choose the versions of all libraries anew'
	@echo 'make clean   remove what the other words made'
	@echo
	@echo 'Another Python (3.11 or later): make PYTHON=/path/to/python3 ...'

demo: .venv/ready
	@.venv/bin/gatepost demo $(ARGS)

bench: .venv/ready
	@$(VENV_PYTHON) -m tests.bench $(ARGS)

lint: .venv/ready
	@echo 'lint: ruff' >&2
	@$(VENV_PYTHON) -m ruff check --quiet --output-format=concise
	@$(VENV_PYTHON) -m ruff format --check --quiet || { echo 'mend with: $(VENV_PYTHON) -m ruff format' >&2; exit 1; }
	@echo 'lint: mypy' >&2
	@$(VENV_PYTHON) -m mypy --no-error-summary

# A process that a test killed leaves a data file cut short: it is passed over, and removed.
# The core must be covered to the last branch; the rest is printed. With ARGS only a part runs, so nothing is asked of it.
# Side by side, because half of the time is spent waiting; one test at a time is handed out, so that whoever is done
# takes the next of the slow ones. ARGS=-n0 runs them one after the other.
test: lint
	@$(VENV_PYTHON) -m coverage erase
	@$(VENV_PYTHON) -m coverage run -m pytest -n auto --maxprocesses=4 --maxschedchunk=1 $(ARGS)
	@$(VENV_PYTHON) -W 'ignore:Data file' -m coverage combine --quiet
	@rm -f .coverage.*
	@echo 'coverage: everything' >&2
	@$(VENV_PYTHON) -m coverage report
	@echo 'coverage: firmware/core, every branch' >&2
	@$(VENV_PYTHON) -m coverage report --include='firmware/core/*' $(if $(strip $(ARGS)),,--fail-under=100)

# Builds what is missing into .hil, from what is committed; as root, on Debian 12. Why which package: tests/hil/packages.py.
hil: .venv/ready
	@$(VENV_PYTHON) -m tests.hil $(ARGS)

# Also on two machines with an ARM processor and GPIO chips of their own; needs Linux 6.7 or later here.
hil-full: .venv/ready
	@$(VENV_PYTHON) -m tests.hil --full $(ARGS)

# Idempotent, and goes on without where it may not install.
hil-system:
	@$(PYTHON) -m tests.hil.packages

hil-full-system:
	@$(PYTHON) -m tests.hil.packages --full

# Made again when the locked versions or the project's own description change.
.venv/ready: requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo 'Gatepost needs Python 3.11 or later, and "$(PYTHON)" is not that. Name one: make PYTHON=python3.12 ...' >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	    echo '"$(PYTHON)" cannot make virtual environments. On Debian: apt-get install python3-venv (or make system)' >&2; \
	    exit 1; }
	@echo 'venv: installing the locked libraries into .venv' >&2
	@$(VENV_PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(VENV_PYTHON) -m pip install --quiet --require-hashes -r requirements-dev.txt
	@$(VENV_PYTHON) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Idempotent: asks for what is missing, and asks for nothing when nothing is.
system:
	@missing=''; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing=' python3 python3-venv'; \
	for package in $(SYSTEM_PACKAGES); do \
	    dpkg-query --show --showformat '$${Status}' "$$package" 2>/dev/null | grep -q '^install ok installed$$' \
	        || missing="$$missing $$package"; \
	done; \
	if [ -z "$$missing" ]; then echo 'system: all packages are there' >&2; exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
	    echo "system: no apt-get here; install by hand what stands for:$$missing. Going on without." >&2; exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=''; \
	elif sudo -n true 2>/dev/null; then sudo='sudo -n'; \
	else echo "system: needs root to install:$$missing. Going on without: tests that need them are skipped." >&2; exit 0; fi; \
	echo "system: installing$$missing (why: see SYSTEM_PACKAGES in the Makefile)" >&2; \
	$$sudo apt-get -qq -o Acquire::Retries=3 update && \
	$$sudo env DEBIAN_FRONTEND=noninteractive \
	    apt-get -qq -o Acquire::Retries=3 install --no-install-recommends -y $$missing >/dev/null

# For every platform and Python at once, with the digest of each file and no index named.
LOCK := $(VENV_PYTHON) -m uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --upgrade \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-emit-package gatepost
lock: .venv/ready
	@echo 'lock: requirements-dev.txt, requirements-gate.txt, requirements-bridge.txt' >&2
	@$(LOCK) --extra gate --extra bridge --extra dev --output-file requirements-dev.txt
	@$(LOCK) --extra gate --constraint requirements-dev.txt --output-file requirements-gate.txt
	@$(LOCK) --extra bridge --constraint requirements-dev.txt --output-file requirements-bridge.txt

clean:
	@rm -rf .venv .bench .coverage .coverage.* .hil .hypothesis .mypy_cache .pytest_cache .ruff_cache dist
	@find firmware hal tests -name __pycache__ -type d -prune -exec rm -rf {} +
