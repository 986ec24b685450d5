# Two commands for a machine that has Python (3.10 or newer), pip and make, and nothing else:
#
#   make demo    reconstruct the packaged scan; the figure lands in demo/
#   make test    run the whole test suite
#
# Everything is installed into ./.venv, once: each stage leaves a stamp, so that the next call starts at once.

PYTHON ?= python3
BIN := .venv/bin
PIP := PIP_NO_COMPILE=1 $(BIN)/python -m pip --disable-pip-version-check
INSTALL := .ci/install $(BIN)
TORCH := 2.13.0
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
WORKERS ?= 2
unexport PYTHONDONTWRITEBYTECODE # or each of a hundred processes would compile anew what it imports

.PHONY: help demo test proofs mutants benchmarks lint types docs format constraints oracles clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -6

demo: .venv/.runtime
	$(BIN)/resolvent demo

test: .venv/.test oracles
	$(BIN)/python -m pytest -n $(WORKERS) -q --durations=20

# The statements that are tested on a few draws by `make test`, on a thousand (an hour).
proofs: .venv/.test
	$(BIN)/python -m pytest -n $(WORKERS) -q -m exhaustive tests/theory

# Put faults into a copy of the source, one at a time: each must turn a test red (minutes).
mutants: .venv/.test
	$(BIN)/python tests/mutations/mutants.py

# Time, work and memory against others, on one thread; writes benchmarks/RESULTS.md (minutes).
benchmarks: .venv/.runtime
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: .venv/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: .venv/.dev
	$(BIN)/pyright

docs: .venv/.dev
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

# The versions that the tests ran with, for the next release of constraints.txt.
constraints: .venv/.dev
	$(BIN)/python .ci/constraints.py > constraints.new && mv constraints.new constraints.txt

clean:
	rm -rf .venv .venv-neighbours docs/_build docs/gallery docs/sg_execution_times.rst docs/*/out docs/problems/photo demo
	rm -rf .pytest_cache .ruff_cache .hypothesis

# ---- set-up, stage by stage ------------------------------------------------------------------------------

# Debian's Python may lack ensurepip: then the pip that is there fills the environment.
.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "resolvent needs Python 3.10 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv || { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	@touch $@

# The CPU build of torch, in a step of its own: on Linux the public index's default build brings gigabytes of CUDA.
# First what pip is configured with, then PyTorch's own index, last (macOS, ARM) the default build.
.venv/.torch: .venv/.created
	@$(PIP) install --quiet --no-deps 'torch==$(TORCH)+cpu' 2>/dev/null \
	  || $(PIP) install --quiet --no-deps --index-url $(TORCH_CPU_INDEX) 'torch==$(TORCH)' \
	  || $(PIP) install --quiet --no-deps 'torch==$(TORCH)'
	@touch $@

.venv/.runtime: .venv/.torch pyproject.toml constraints.txt
	$(INSTALL) --editable .
	@touch $@

.venv/.test: .venv/.runtime
	$(INSTALL) --editable '.[test]'
	@touch $@

# Everything in one call, so that what the stages before need is looked for once.
.venv/.dev: .venv/.torch pyproject.toml constraints.txt
	$(INSTALL) --editable '.[dev]'
	@touch .venv/.runtime .venv/.test $@

# Programs that some tests compare with, or send images to. They are Debian packages: installed where root and apt-get
# are there and nothing asks a question; elsewhere those tests skip and say so.
ORACLES := bart ismrmrd-tools dicom3tools chromium orthanc orthanc-dicomweb
PROGRAMS := bart ismrmrd_generate_cartesian_shepp_logan dciodvfy chromium Orthanc

oracles:
	@export PATH="$$PATH:/usr/sbin" DEBIAN_FRONTEND=noninteractive; \
	if command -v $(PROGRAMS) | wc -l | grep -qx $(words $(PROGRAMS)) \
	  && test -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  quick="-qq -o Acquire::Retries=0 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=60"; \
	  { timeout 120 apt-get $$quick update; \
	    for one in $(ORACLES); do timeout 300 apt-get $$quick install -y --no-install-recommends $$one || missing="$$missing $$one"; done; \
	  } </dev/null >/dev/null 2>&1; \
	  [ -z "$$missing" ] || echo "oracles:$$missing could not be installed; the tests with them will skip"; \
	else echo "oracles: not all of $(ORACLES) are installed; the tests with the others will skip"; fi
