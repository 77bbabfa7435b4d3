# `make run` and `make test` do their own set-up; nothing else is needed than Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SITE := .build/site
APT := DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends

export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0.05

.PHONY: run test test-slow test-dds-peer test-ros1 bench-peers lint install clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

run: $(STAMP)
	$(BIN)/dynrl train bandits/ads

test: lint
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m slow --durations=25

# Optional jobs: a second DDS vendor and a real ROS 1. They install Debian or Ubuntu packages; where that is not possible
# the tests skip and say what is missing.
test-dds-peer: $(STAMP)
	-$(APT) fastddsgen libfastrtps-dev libfastcdr-dev default-jre-headless g++
	$(BIN)/python -m pytest tests/robots/transports/test_fastdds.py

test-ros1: $(STAMP)
	-$(APT) python3-rospy python3-rosmaster python3-sensor-msgs python3-geometry-msgs python3-trajectory-msgs \
		python3-diagnostic-msgs python3-nav-msgs
	$(BIN)/python -m pytest tests/robots/transports -k "ros1 and not rosbridge"

# EnvPool, which `dynrl bench physics` measures beside our own engine; 700 MB with the assets it brings.
bench-peers: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"

# The type checker reads the package as users get it: installed, with the four folders joined under one name.
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf $(SITE)
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target $(SITE) .
	rm -rf build
	cd $(SITE) && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.cache/mypy -p dynrl

clean:
	rm -rf $(VENV) .build .cache build *.egg-info
