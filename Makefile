# make run    serve the well-known public registries on port 5000, with built-in settings
# make demo   the same with a registry of its own: no internet needed
# make test   install what the tests need, run all of them
# make fuzz   bent requests and noise to a whole daemon, for half an hour
# make kill   kill -9 at 200 random moments of everything at once (4 minutes)
# make bench  speed, CPU and memory beside docker-registry in proxy mode (25 minutes on a quiet machine)
# make bench-limit  much pulled through a small limit, and what to evict first (4 minutes)
# make bench-scale  100,000 entries: how soon it answers, how long its reactor is held (2 minutes)
# make soak   an hour of pulls over a limit, short ttl, kills, an upstream that fails at random
# make simulate  a day of 200 nodes in simulated time: what is asked of Docker Hub (a minute)
# make check  what CI runs: tests, lint, types, demo
# make clean  remove what these made
#
# ARGS="..." is passed on: make run ARGS="--config etc/regproxy.yml", make test ARGS="-k door".

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
DEBIAN_PACKAGES := docker-registry skopeo busybox-static apache2-utils systemd podman buildah runc containerd docker.io iptables curl

.DEFAULT_GOAL := help
.PHONY: help run demo test fuzz kill bench bench-limit bench-scale soak simulate check lint debian clean
.DELETE_ON_ERROR:

help:
	@sed -n '/^# make/s/^# //p' Makefile

run: $(VENV)/.run
	@exec $(BIN)/twistd --nodaemon --pidfile= regproxy $(ARGS)

demo: $(VENV)/.run
	@exec $(BIN)/python -m regproxy.testing.demo $(ARGS)

test: $(VENV)/.test debian
	$(BIN)/python -m pytest $(ARGS)

fuzz: $(VENV)/.test
	REGPROXY_FUZZ_EXAMPLES=$${REGPROXY_FUZZ_EXAMPLES:-2500} $(BIN)/python -m pytest tests/system/test_fuzz.py $(ARGS)

kill: $(VENV)/.test
	KILLS=$${KILLS:-200} $(BIN)/python -m pytest tests/system/test_killed_mixed.py $(ARGS)

bench: DEBIAN_PACKAGES := docker-registry wrk
bench: $(VENV)/.run debian
	@exec $(BIN)/python -m bench $(ARGS)

bench-limit: $(VENV)/.run
	@exec $(BIN)/python -m bench.policies
	@exec $(BIN)/python -m bench.limit $(ARGS)

bench-scale: $(VENV)/.run
	@exec $(BIN)/python -m bench.scale $(ARGS)

soak: $(VENV)/.run
	@exec $(BIN)/python -m bench.soak $(ARGS)

simulate: $(VENV)/.run
	@exec $(BIN)/python -m bench.simulate $(ARGS)

check: test lint
	$(MAKE) demo ARGS=

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The installation is editable, so only what it was made from makes it stale.
$(VENV)/.run $(VENV)/.test $(VENV)/.dev: pyproject.toml setup.py | $(BIN)/python

$(VENV)/.run:
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test:
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.dev:
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,dev]'
	@touch $@ $(VENV)/.test $(VENV)/.run

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "regproxy needs Python 3.10 or newer, and there is no $(PYTHON): install python3 and python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "regproxy needs Python 3.10 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1): name another one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Without the right to install them the tests that need them are skipped, and under CI=true they fail.
# dockerd, containerd and runc may be there from packages with other names, which these would replace.
debian:
	@missing=$$(for package in $(DEBIAN_PACKAGES); do \
	  case $$package in docker.io) program=dockerd;; containerd|runc) program=$$package;; *) program=;; esac; \
	  test -n "$$program" && PATH="$$PATH:/usr/sbin" command -v $$program >/dev/null && continue; \
	  dpkg-query --show --showformat='$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || printf ' %s' $$package; \
	done); \
	test -n "$$missing" || exit 0; \
	if ! command -v apt-get >/dev/null; then unable=yes; \
	elif test "$$(id -u)" = 0; then as=; \
	elif sudo -n true 2>/dev/null; then as='sudo -n'; \
	else unable=yes; fi; \
	if test -n "$$unable"; then \
	  echo "make test: some tests need these Debian packages, which only root can install:$$missing" >&2; exit 0; \
	fi; \
	echo "make test: installing$$missing"; \
	$$as apt-get update -qq && \
	$$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-remove --no-install-recommends $$missing >/dev/null

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis twistd.pid twistd.log
	find regproxy tests twisted -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache
