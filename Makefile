# Every target makes .venv and installs what it needs by itself. Without make:
#   python3 -m venv .venv && .venv/bin/pip install -c constraints.txt torch && .venv/bin/pip install -c constraints.txt -e .
#   .venv/bin/mimicgan demo

.DEFAULT_GOAL := help
.PHONY: demo test test-wheel test-web test-kills lint docs bench reproduce reproduce-robust reproduce-unseen \
  reproduce-observations \
  reproduce-recovery reproduce-defence reproduce-settings clean help

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
MADE_FROM := pyproject.toml constraints.txt

demo: .venv/.core ## restore damaged pictures blind (no data set needed)
	$(BIN)/mimicgan demo

test: lint ## check style and types, run the tests
	@MIMICGAN_DATA="$$(tests/provide-fashion-mnist .venv/share)" && export MIMICGAN_DATA && \
	set -x && $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-wheel: .venv/.dev ## build the wheel, look into it, install and run it
	$(BIN)/python -m pytest -m slow tests/test_wheel.py

test-web: .venv/.web ## the web page in a real browser (chromium, by apt where it is missing)
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	apt-get install --yes --quiet --quiet chromium; } || echo 'No chromium: the tests of the page will be skipped.'
	$(BIN)/python -m pytest tests/test_web.py

test-kills: .venv/.dev ## kill a large job 200 times (ten minutes or more)
	MIMICGAN_KILLS=200 $(BIN)/python -m pytest tests/test_kills.py

lint: .venv/.dev ## check style and types alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

reproduce: reproduce-robust reproduce-unseen reproduce-observations reproduce-defence ## all of the experiments on Fashion-MNIST's test images

reproduce-robust: .venv/.reproduce ## the paper's Table 3b beside ours
	$(BIN)/mimicgan reproduce robust-classification

reproduce-unseen: .venv/.reproduce ## damages that the paper does not have
	$(BIN)/mimicgan reproduce unseen

reproduce-observations: .venv/.reproduce ## how the number of images matters
	$(BIN)/mimicgan reproduce observations

reproduce-recovery: .venv/.reproduce ## faces (needs CelebA: MIMICGAN_DATA or --data-dir)
	$(BIN)/mimicgan reproduce recovery

reproduce-defence: .venv/.reproduce ## attacks on a classifier, with and without cleaning
	$(BIN)/mimicgan reproduce defence
	$(BIN)/mimicgan reproduce adaptive
	$(BIN)/mimicgan reproduce universal

reproduce-settings: .venv/.reproduce ## how settings were chosen, on validation images
	$(BIN)/mimicgan reproduce sweep --split validation
	$(BIN)/mimicgan reproduce calibration --split validation
	$(BIN)/mimicgan train gan --data fashion-mnist --warmup 0 --reconstruction 0 --out runs/plain
	$(BIN)/mimicgan evaluate --prior runs/plain --images 100 --steps 1000 --out results/prior-plain.json

docs: .venv/.docs ## the documentation, in build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: .venv/.core ## seconds, generator passes and memory of each method, in one run
	$(BIN)/mimicgan bench

clean: ## remove .venv and everything that checks and builds leave behind
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 30

# A failed step says in one line what is missing; .venv is kept, and the next call goes on.
.venv/bin/pip:
	@for python in python3.13 python3.12 python3.11 python3; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then echo 'Missing: Python 3.11 or newer (python3).' >&2; exit 1; fi; \
	if ! $$python -c 'import venv, ensurepip' 2>/dev/null; then \
	  echo "Missing: the venv module of $$python (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; fi; \
	rm -rf .venv && echo "$$python -m venv .venv" && $$python -m venv .venv

# torch comes first and alone: whatever asks for it later takes the one that is there.
.venv/.torch: $(MADE_FROM) | .venv/bin/pip
	@echo 'installing torch'; $(PIP) torch || \
	{ echo 'Could not install torch: see above (network? disk space?), then run the same again.' >&2; exit 1; }
	@touch $@

define install
	@echo 'installing mimicgan$(1)'; $(PIP) --editable '.$(1)' || \
	{ echo 'Could not install mimicgan: see above (network? disk space?), then run the same again.' >&2; exit 1; }
	@touch $@
endef

.venv/.core: .venv/.torch
	$(call install,)

.venv/.dev: .venv/.torch
	$(call install,[dev])

.venv/.web: .venv/.torch
	$(call install,[dev$(comma)web-test])

.venv/.docs: .venv/.torch
	$(call install,[docs])

.venv/.reproduce: .venv/.torch
	$(call install,[cv$(comma)attacks$(comma)art])

comma := ,
