# Switchroom: `make run` and `make test` work on a fresh Debian 12 with git, make and python3; also `make build`, `make compiled`, `make bench`, `make image`,
# `make image-test`, `make sanitize`, `make clean`.
# Each step leaves a stamp and is done again only when what it was made from has changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.ONESHELL:
.SILENT:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
SOURCES := $(wildcard $(foreach kind,pyx pxd pxi h,media_core/*.$(kind) media_core/*/*.$(kind))) setup.py
ASSETS := $(wildcard webui/assets/*) webui/build.py
JOBS := $(shell nproc)

.PHONY: run build compiled test bench sanitize image image-test image-test-full clean help

run: build compiled
	exec $(BIN)/switchroom run $(ARGS)

build: $(VENV)/.built $(VENV)/.installed $(VENV)/.assets

# What stands on the way of a call (setup.py, ON_THE_WAY): runs as it is written, too, and faster compiled.
compiled: $(VENV)/.compiled

# What mostly waits (whole systems, browsers) runs beside what computes; what it said comes at the end. With ARGS, only what they name, in one run.
# What computes runs as it is written, for some tests look into it; a part of it once more compiled, as the whole systems are.
WAITING := tests/e2e tests/web
BOTH_WAYS := tests/sip tests/calls tests/services tests/test_box.py tests/callcontrol/test_recovery.py tests/callcontrol/test_released_slots.py
test: build/.debian-test $(VENV)/.dev build compiled
	if [[ -n "$(ARGS)" ]]; then exec $(BIN)/python -m pytest $(ARGS); fi
	broken=0
	$(BIN)/python -m pytest $(WAITING) > build/waiting.log 2>&1 &
	trap "kill $$! 2> /dev/null || true" EXIT
	SWITCHROOM_PURE=1 $(BIN)/python -m pytest $(WAITING:%=--ignore=%) || broken=1
	echo "· once more, compiled: $(BOTH_WAYS)"
	$(BIN)/python -m pytest $(BOTH_WAYS) || broken=1
	echo "· waiting for $(WAITING)"
	wait $$! || broken=1
	cat build/waiting.log
	exit $$broken

bench: build/.debian-test $(VENV)/.dev build compiled
	$(BIN)/python -m benchmarks.report $(ARGS)

# A flashable disk image and an update bundle in dist/, signed with throw-away keys. Only files are made: no loop device, mount or container.
image: build/.debian-image build
	PATH=$$PATH:/usr/sbin:/sbin $(BIN)/python -m image.build $(ARGS)

# The image in an emulated box: boot, first call, restart, updates that fail; and the updater on files. `image-test-full` adds what takes long.
image-test: build/.debian-image $(VENV)/.dev
	$(MAKE) image ARGS=
	PATH=$$PATH:/usr/sbin:/sbin $(BIN)/python -m pytest --no-header -p no:cacheprovider tests/test_update.py tests/image/boots -m "not slow" --durations=12 --durations-min=5 $(ARGS)

image-test-full: build/.debian-test build/.debian-image $(VENV)/.dev
	$(MAKE) image ARGS=
	PATH=$$PATH:/usr/sbin:/sbin $(BIN)/python -m pytest --no-header -p no:cacheprovider tests/image/boots $(ARGS)

# The media core and its tests under the address and undefined-behaviour sanitizers, in a copy: the build in place stays as it is.
SANITIZED := build/sanitized
sanitize: build/.debian-test $(VENV)/.dev
	mkdir -p $(SANITIZED)
	echo "· compiling the media core with sanitizers"
	rm -rf $(SANITIZED)/tests
	cp --recursive --update --preserve=timestamps --parents $$(git ls-files appliance benchmarks media_core tests webui pyproject.toml setup.py) $(SANITIZED)
	cd $(SANITIZED)
	SWITCHROOM_BUILD=sanitize $(abspath $(BIN))/python setup.py -q build_ext --inplace --parallel $(JOBS) > compile.log 2>&1 || { tail -60 compile.log; exit 1; }
	export LD_PRELOAD="$$(gcc -print-file-name=libasan.so)"
	export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:quarantine_size_mb=8 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
	$(abspath $(BIN))/python -m pytest -p no:cacheprovider -o timeout=600 tests/media_core $(ARGS)

clean:
	rm -rf $(VENV) build artefacts .assets webui/static/vendor *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -f appliance__mypyc*.so
	find media_core appliance -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:
	head -1 Makefile

# Debian packages that are missing are installed, as root or by sudo; where neither is possible the command is printed.
build/.debian-%: requirements/debian-%.txt
	mkdir -p build
	if command -v dpkg-query > /dev/null; then
		missing=()
		while read -r package only; do
			[[ -z "$$package" || "$$package" == \#* ]] && continue
			[[ -n "$$only" && "$$only" != "[$$(dpkg --print-architecture)]" ]] && continue
			[[ "$$(dpkg-query -W -f '$${db:Status-Status}' "$$package" 2> /dev/null)" == installed ]] || missing+=("$$package")
		done < $<
		if (( $${#missing[@]} )); then
			command="apt-get install --yes --no-install-recommends $${missing[*]}"
			if [[ $$EUID == 0 ]]; then as=(env); elif sudo -n true 2> /dev/null || [[ -t 0 ]] && command -v sudo > /dev/null; then as=(sudo env); else
				echo "These Debian packages are missing and cannot be installed from here. As root: apt-get update && $$command"
				exit 1
			fi
			echo "· installing Debian packages: $${missing[*]}"
			log=$$(mktemp)
			if ! { "$${as[@]}" apt-get -qq update && "$${as[@]}" DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$${missing[@]}"; } > "$$log" 2>&1; then
				tail -20 "$$log"
				echo "That did not work. By hand: apt-get update && $$command"
				exit 1
			fi
			rm -f "$$log"
		fi
	fi
	touch $@

$(VENV)/.made: | build/.debian-run
	echo "· creating $(VENV) with $$($(PYTHON) --version)"
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.run: requirements/run.txt requirements/build.txt build/.debian-run $(VENV)/.made
	echo "· installing Python packages"
	$(PIP) install --require-hashes -r requirements/run.txt -r requirements/build.txt
	touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	echo "· installing Python packages for tests"
	$(PIP) install --require-hashes -r requirements/dev.txt
	touch $@

$(VENV)/.built: $(SOURCES) $(VENV)/.run
	echo "· compiling the media core"
	mkdir -p build
	$(BIN)/python setup.py -q build_ext --inplace --parallel $(JOBS) > build/compile.log 2>&1 || { tail -60 build/compile.log; exit 1; }
	touch $@

$(VENV)/.compiled: $(shell find appliance/calls appliance/flows appliance/sip -name '*.py') setup.py $(VENV)/.run
	echo "· compiling what stands on the way of a call"
	mkdir -p build
	rm -rf appliance__mypyc*.so
	find appliance -name '*.so' -delete
	SWITCHROOM_BUILD=calls $(BIN)/python setup.py -q build_ext --inplace --parallel $(JOBS) > build/compile-calls.log 2>&1 || { tail -60 build/compile-calls.log; exit 1; }
	touch appliance__mypyc*.so $@

$(VENV)/.installed: pyproject.toml requirements/run.in $(VENV)/.run
	SWITCHROOM_BUILD=python $(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.assets: $(ASSETS) $(VENV)/.run
	echo "· building the admin page's assets"
	$(BIN)/python -m webui.build
	touch $@
