# Everything there is to do with a checkout. Needs Python 3.11 or newer and make; the rest is installed here.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .stamps
PARALLEL := -n auto --dist worksteal
# Servers, browsers and threads share two cores with whatever else the machine does. A test that fails
# is tried a second time, and named at the end: each of those is a bug to look for, ours or the test's.
AGAIN := --reruns 1 -r R
DUCKDB := 1.4
# Programs of others that follow Binance, each in a folder of its own: they do not install together.
FOREIGN := ccxt python-binance binance-futures-connector cryptofeed unicorn-binance-websocket-api \
	binance-sdk-derivatives-trading-usds-futures

# What a test process compiles is there for the next one, wherever that is switched off for others.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help run test lint types unit edge sim week crash fleet bench pages picture clients dist executable clean

help:            ## show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 18

run: $(STAMP)/installed $(STAMP)/pages  ## the daemon on a demo configuration, fed by simulated exchanges; PORT=n for another than 4200
	@exec $(BIN)/python demo/run.py $(if $(PORT),--port $(PORT))

test: $(STAMP)/tools $(STAMP)/system $(STAMP)/pages $(STAMP)/duckdb-$(DUCKDB)/stamp clients lint types  ## everything that must be true, as CI checks it
	$(BIN)/python -m pytest $(PARALLEL) $(AGAIN) -m "not edge and not browser"
	$(BIN)/python -m pytest $(PARALLEL) $(AGAIN) -m "edge or browser"
	PYTHONPATH=$(STAMP)/duckdb-$(DUCKDB) $(BIN)/python -m pytest $(PARALLEL) -m duckdb --duckdb=$(DUCKDB) $$(grep -lE "DUCKDB|mark.duckdb" tests/plugins/test_*.py)
	$(MAKE) executable

unit: $(STAMP)/tools  ## the fast tests only
	$(BIN)/python -m pytest $(PARALLEL) -m "not edge and not browser" --ignore=tests/simulation

edge: $(STAMP)/tools $(STAMP)/system $(STAMP)/duckdb-$(DUCKDB)/stamp clients  ## the tests with real sockets, processes and browsers
	$(BIN)/python -m pytest -m "edge or browser"

sim: $(STAMP)/tools  ## the simulation; SEED=n for one seed, SEEDS=n for many, from FIRST=n on
ifdef SEEDS
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(if $(FIRST),--first $(FIRST))
else
	FLOWD_SEED=$(SEED) $(BIN)/python -m pytest $(if $(SEED),,$(PARALLEL)) tests/simulation
endif

week: $(STAMP)/tools  ## tracking ten thousand traders for a simulated week, with storms; HOURS=n for less
	$(BIN)/python -m tests.plugins.hyperliquid_week $(HOURS)

crash: $(STAMP)/tools  ## real processes under kill -9, and a referee; CYCLES=n, SEED=n
	$(BIN)/python -m tests.crash $(if $(CYCLES),--cycles $(CYCLES)) $(if $(SEED),--seed $(SEED))

fleet: $(STAMP)/tools $(STAMP)/system  ## five hundred clients of three daemons behind nginx, while all of it fails; MINUTES=n, SEED=n
	$(BIN)/python -m tests.fleet $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

lint: $(STAMP)/tools  ## ruff: style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)/tools  ## mypy --strict
	$(BIN)/mypy

bench: $(STAMP)/tools $(STAMP)/bench  ## measure against peers; writes docs/performance.md
	$(BIN)/python -m bench $(BENCH)

pages: $(STAMP)/pages  ## the front-end packages of the pages, by npm; says so where that is missing

picture: $(STAMP)/tools $(STAMP)/system $(STAMP)/pages  ## take README's picture of the demo, with Chromium
	$(BIN)/python scripts/picture.py

dist: $(STAMP)/tools $(STAMP)/pages  ## wheel, source archive, and executables for machines without Python
	@rm -rf dist
	$(BIN)/python -m pip install --quiet build
	$(BIN)/python -m build
	@scripts/install-system binutils
	$(BIN)/python scripts/executable.py dist/*.whl

executable: dist  ## build them, and run the executables where there is no Python
	$(BIN)/python -m pytest tests/edge/test_executable.py --executable=dist

clean:           ## remove what was installed and built here
	rm -rf .venv $(STAMP) dist build .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

$(STAMP)/installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@mkdir -p $(STAMP) && touch $@

$(STAMP)/tools: $(STAMP)/installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

$(STAMP)/system:
	scripts/install-system chromium systemd nginx caddy redis-server prometheus postgresql nats-server \
		iproute2
	@mkdir -p $(STAMP) && touch $@

# The oldest DuckDB that we work with, beside the newest that the tools bring.
$(STAMP)/duckdb-$(DUCKDB)/stamp: $(BIN)/python
	@rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --no-deps --target $(@D) 'duckdb==$(DUCKDB).*'
	@touch $@

# One that cannot be installed is said so, and its test skipped, but not where CI runs.
clients: $(FOREIGN:%=$(STAMP)/clients/%/stamp)

$(STAMP)/clients/%/stamp: $(BIN)/python
	@rm -rf $(@D)
	@$(BIN)/python -m pip install --quiet --target $(@D) $* && touch $@ \
		|| { echo "$* cannot be installed here"; [ -z "$$CI" ]; }

PAGES := plugins/flowd_pages
$(STAMP)/pages: $(BIN)/python $(PAGES)/package-lock.json $(PAGES)/fetch.py
	@command -v npm >/dev/null || scripts/install-system nodejs npm
	$(BIN)/python $(PAGES)/fetch.py --development
	@mkdir -p $(STAMP) && { [ ! -f $(PAGES)/vendor/stamp ] || touch $@; }

$(STAMP)/bench: $(STAMP)/tools
	$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	scripts/install-system nginx libnginx-mod-nchan nats-server pushpin nodejs chromium postgresql redis-server
	@touch $@
