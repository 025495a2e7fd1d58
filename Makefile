# `make help` lists every target.  Nothing here needs root, except `make tools` (apt).
SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python,$(if $(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo ok),$(p))))
BIN := $(VENV)/bin
ARGS ?=
# Half as many again as cores: tests of whole sites wait more than they compute.
WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 )))
# Where it is set, every process would compile all it imports anew: 2 to 3 s of a core at each start.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help

help:  ## this list
	@awk -F':.*##' '/^[a-z0-9-]+:.*##/ {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The environment is remade when pyproject.toml changes.  uv resolves and installs; the pip that
# comes with some Pythons (23.2.1) crashes on this dependency set, so it only fetches uv.  sle, which
# tests compare with, pins a pyasn1 of 2019 and stands by itself.
$(VENV)/.installed-run $(VENV)/.installed-test: $(VENV)/.installed-%: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and none is on PATH; name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@if ! test -x $(BIN)/python; then \
	  if command -v uv >/dev/null; then uv venv -q --python $(PYTHON) $(VENV); \
	  else $(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make a virtual environment; Debian and Ubuntu: apt install python3-venv, or install uv"; exit 1; }; fi; fi
	@if command -v uv >/dev/null; then uv=uv; else \
	  test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check uv || exit 1; uv=$(BIN)/uv; fi; \
	  echo "installing into $(VENV) (once) …"; \
	  $$uv pip install -q -p $(BIN)/python -e '.$(if $(filter test,$*),[test])' \
	  $(if $(filter test,$*),&& $$uv pip install -q -p $(BIN)/python --target $(VENV)/peers/sle sle==0.3.0)
	@touch $@

run: $(VENV)/.installed-run  ## the simulated spacecraft, the ground and the live view (ARGS="--speed 60")
	@$(BIN)/l4 run $(ARGS)

test: $(VENV)/.installed-test  ## all tests, style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-long: $(VENV)/.installed-test  ## more of what `make test` does once: further real weeks, objectives, stations
	$(BIN)/pytest -m long $(ARGS)

check: $(VENV)/.installed-test  ## style, types and import rules only
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/pyright

generate: $(VENV)/.installed-test  ## state diagrams of the documents, calls of the Python client: what is made from the code
	$(BIN)/python -m tests.state_diagrams
	$(BIN)/python -m tests.client_calls

bench: $(VENV)/.installed-test  ## every hot path beside its named peer, as a table of ratios
	@if command -v uv >/dev/null; then uv pip install -q -p $(BIN)/python -e '.[bench]'; else $(BIN)/uv pip install -q -p $(BIN)/python -e '.[bench]'; fi
	$(BIN)/python -m tests.benchmarks $(ARGS)

bench-system: $(VENV)/.installed-test  ## the whole system through its processes (ARGS="sustained --seconds 30")
	$(BIN)/python -m tests.benchmarks.system $(ARGS)

bench-console: $(VENV)/.installed-test  ## 500 parameters at 10 Hz to five browsers: latency, memory (ARGS="--seconds 60")
	$(BIN)/python -m tests.benchmarks.console_browsers $(ARGS)

trial-routes: $(VENV)/.installed-test  ## earliest arrivals on 10,000 random contact plans, against networkx and aiodtnsim
	$(BIN)/python -m tests.benchmarks.trial_routes $(ARGS)

bench-relay: $(VENV)/.installed-test  ## bundles through a durable relay, three processes (ARGS="60000 1000": count, octets)
	$(BIN)/python -m tests.benchmarks.relay measure $(or $(ARGS),60000 1000)

bench-errors: $(VENV)/.installed-test  ## error rates of every code in noise, beside theory, libfec, exact decoders (ARGS="--only turbo")
	@if command -v uv >/dev/null; then uv pip install -q -p $(BIN)/python -e '.[bench]'; else $(BIN)/uv pip install -q -p $(BIN)/python -e '.[bench]'; fi
	$(BIN)/python -m tests.benchmarks.error_rates $(ARGS)

bench-growth: $(VENV)/.installed-test  ## time and memory as packets, definitions and channels grow
	$(BIN)/python -m tests.benchmarks.growth $(ARGS)

trial-ltp: $(VENV)/.installed-test  ## LTP through 499 s and 20 % loss, 1,000 seeds; 100,000 sessions
	$(BIN)/python -m tests.long.ltp $(ARGS)

trial-cop1: $(VENV)/.installed-test  ## FOP-1 and FARM-1 through 30 % loss both ways, 1,000 seeds
	$(BIN)/python -m tests.long.cop1 $(ARGS)

trial-commands: $(VENV)/.installed-test  ## command service and spacecraft through losses, kills, terminations, 200 seeds
	$(BIN)/python -m tests.long.commands $(ARGS)

trial-forgeries: $(VENV)/.installed-test  ## 100,000 forged, replayed, changed commands: none is executed
	$(BIN)/python -m tests.long.forgeries $(ARGS)

trial-spacecraft-forgeries: $(VENV)/.installed-test  ## the same against the simulated spacecraft's command link
	$(BIN)/python -m tests.long.spacecraft_forgeries $(ARGS)

trial-cfdp: $(VENV)/.installed-test  ## files of 10 MB through 499 s and 10 % loss, both ends killed -9 again and again
	$(BIN)/python -m tests.long.cfdp $(ARGS)

bench-relay-growth: $(VENV)/.installed-test  ## the bundle node's time and memory as bundles pile up (ARGS="--bundles 200000")
	$(BIN)/python -m tests.benchmarks.relay_growth $(ARGS)

trial-relay-kill: $(VENV)/.installed-test  ## kill -9 on any node of a four-node chain, 1,000 times: nothing lost, nothing twice
	$(BIN)/python -m tests.long.relay_kill $(ARGS)

trial-crash: $(VENV)/.installed-test  ## a whole site killed 1,000 times, disk full, clock stepped, bus cut: audited after each
	$(BIN)/python -m tests.long.crash $(ARGS)

trial-power: $(VENV)/.installed-test  ## the power goes at 2,000 instants for each store: what was promised is there (ARGS="--only bundles")
	$(BIN)/python -m tests.long.power $(ARGS)

trial-restore: $(VENV)/.installed-test  ## backed up, gone on, lost, restored: all is executed once, no number means two things
	$(BIN)/python -m tests.long.restore $(ARGS)

soak: $(VENV)/.installed-test  ## 24 hours of the site in ten minutes: memory flat, nothing missing
	$(BIN)/python -m tests.long.soak $(ARGS)

trial-reprocess: $(VENV)/.installed-test  ## l4 reprocess with clients, workers, scheduler killed; one worker and two (ARGS="--rounds 4")
	$(BIN)/python -m tests.long.reprocess $(ARGS)

bench-scale: $(VENV)/.installed-test  ## what grows with followers, parameters, years, consoles (ARGS="--only bus")
	$(BIN)/python -m tests.benchmarks.scale $(ARGS)

trial-radio: $(VENV)/.installed-test  ## I/Q to frames: error rates beside theory (ARGS="rates"), a ten-minute pass (ARGS="pass")
	$(BIN)/python -m tests.long.radio $(or $(ARGS),rates)

trial-systemd: $(VENV)/.installed-test  ## the runbooks word by word in a Debian with systemd (root; debootstrap, systemd-container)
	$(BIN)/python -m tests.long.systemd_site $(ARGS)

trial-container: $(VENV)/.installed-test  ## the image built, every container of compose.yaml run and killed (root; debootstrap, podman, buildah, runc)
	$(BIN)/python -m tests.long.container $(ARGS)

fuzz: $(VENV)/.installed-test  ## every parser that reads from outside, by coverage (ARGS="--seconds 60 --only bundle,ltp")
	@if command -v uv >/dev/null; then uv pip install -q -p $(BIN)/python -e '.[fuzz]'; else $(BIN)/uv pip install -q -p $(BIN)/python -e '.[fuzz]'; fi
	@$(BIN)/python -m tests.fuzz $(ARGS)

fuzz-api: $(VENV)/.installed-test  ## the console's API by schemathesis, 60 questions a route (ARGS="200")
	L4_API_EXAMPLES=$(or $(ARGS),60) $(BIN)/pytest -q tests/ground/console/test_api_fuzz.py

tools:  ## programs that tests want beyond Python (apt, as root or with sudo)
	@sudo=; test "$$(id -u)" = 0 || sudo=sudo; \
	  $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends tshark libfec0 mosquitto mosquitto-clients chromium libsoapysdr-dev g++ gnuradio postgresql prometheus nginx-light >/dev/null

pictures: $(VENV)/.installed-test  ## docs/console anew: every view in both themes, of a site at work
	L4_PICTURES=docs/console $(BIN)/pytest -q tests/end_to_end/test_console.py

docs: $(VENV)/.installed-test  ## check the documents: every example is run
	$(BIN)/pytest -q docs README.md

fmt: $(VENV)/.installed-test  ## format and sort imports
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean:  ## remove the environment and run data
	rm -rf $(VENV) var

.PHONY: help run test check bench bench-system tools docs fmt clean
