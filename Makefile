# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests.
# Everything else: `make check` (what CI runs), `make bench`, `make lock`, `make clean`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SYSTEM := $(VENV)/.system

export OMP_NUM_THREADS := 1
# ONNX Runtime asks a collector of its maker for everything that imports it by itself, as some tests do.
export ORT_DISABLE_TELEMETRY := 1

.PHONY: hil-smoke hil-vm asyncapi tshark demo test check lint types floors bench crash fuzz lock test-export clean help

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make demo    the whole chain on this machine, from an empty folder, with a table at the end
demo: $(READY) $(SYSTEM)
	$(BIN)/appliance demo

# Rooms whose tests wait for no clock: on all cores. The others (brokers, daemons, kills) have the machine to themselves.
SIDE_BY_SIDE := $(addprefix tests/,audit bundles config engines estimation export fusion geodesy golden image inference \
	reading recorder sealing slots tracking)

## make test    every test, in random order
test: $(READY) $(SYSTEM)
	$(BIN)/python -m pytest -n auto --dist loadfile $(SIDE_BY_SIDE)
	$(BIN)/python -m pytest $(addprefix --ignore=,$(SIDE_BY_SIDE))

## make check   what CI runs: lint, types, floors, tests, the rig's smoke campaign
check: lint types floors test hil-smoke

## make hil-smoke   half a minute of harbour at a device of local processes, whose daemon is killed once; see docs/rig.md
hil-smoke: $(READY) $(SYSTEM)
	$(BIN)/python -m hil run smoke --out .cache/hil-smoke

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python .ci/functions.py appliance export hil

types: $(READY)
	$(BIN)/mypy

floors: $(READY)
	$(BIN)/lint-imports

## make bench   speed and memory beside the bare floor, as ratios of the same run
bench: $(READY) $(SYSTEM)
	$(BIN)/python -m benchmarks

## make fuzz    100,000 damaged bundles and as many sealed engines, none of which may be accepted (half an hour on two cores)
fuzz: $(READY)
	$(BIN)/python -m tests.support.bundle_fuzz
	$(BIN)/python -m tests.support.engine_fuzz

## make crash   the whole crash campaign: 500 kills of each part, 1,000 starts killed, full disks, an hour without a broker
crash: $(READY) $(SYSTEM)
	$(BIN)/python -m pytest tests/crash tests/sealing/test_nonces.py -s -p no:randomly --moments 500 --crashes 1000 --minute-s 60 --backlog 180000

## make hil-vm   the virtual device: an image from nothing, booted in QEMU, its power cut ten times (root, hours; see docs/virtual-device.md)
hil-vm: $(READY)
	bash .ci/system vm
	$(BIN)/python -m hil vm run --out .cache/hil-vm

## make lock    resolve the lock file anew (needs uv)
lock:
	uv pip compile --universal --python-version 3.11 --extra dev --extra desk --generate-hashes --no-emit-index-url -q -o requirements.lock pyproject.toml

## make tshark   every packet of a whole demo, and of a unit and its listener over mutual TLS, captured and searched (root)
tshark: $(READY) $(SYSTEM)
	$(BIN)/python -m pytest tests/hil/test_demo_capture.py tests/daemon/test_capture.py -s -p no:randomly

## make asyncapi   docs/asyncapi.yaml against AsyncAPI's own schema, which is fetched for it (needs npm)
asyncapi: $(READY)
	mkdir -p .cache/asyncapi
	cd .cache/asyncapi && npm pack --silent @asyncapi/specs@6.11.1 && tar xzf asyncapi-specs-6.11.1.tgz --strip-components 2 'package/schemas/3.0.0-without-$$id.json' && rm asyncapi-specs-6.11.1.tgz
	$(BIN)/python -m pytest tests/listen/test_asyncapi.py

## make test-export   the bench's tests that need torch and transformers, in a .venv-export of their own (torch is several GiB)
test-export: .venv-export/.ready
	.venv-export/bin/python -m pytest tests/export/test_fromtorch.py tests/export/test_transformers.py

.venv-export/.ready: pyproject.toml | $(READY)
	$(PYTHON) -m venv .venv-export
	.venv-export/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,export]'
	touch $@

## make clean   remove what make has made
clean:
	rm -rf $(VENV) .venv-export .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache

$(READY): requirements.lock pyproject.toml .ci/system
	bash .ci/system python
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@echo "compiling the path"
	$(BIN)/python -m appliance.pipeline.warm
	touch $@

$(SYSTEM): .ci/system | $(READY)
	bash .ci/system tools
	touch $@
