# Everything a person or a machine does with this project. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# A test that hangs must not hang whoever waits for the tests.
TEST_LIMIT := 45m

# Seconds that `make fuzz` and `make fuzz-test` give each target; of `make fuzz` also the targets, all of
# them without names.
SECONDS := 60
TARGET :=
# How long `make soak` goes on.
MINUTES := 10
# How often `make cluster-test` does everything, and how safe commits are (quorum, async).
ROUNDS := 1
SYNC := quorum

# SQLite's own tests: which set (short, full, veryquick), or which files, with which command, and whether
# files are passed through (on, off).
SET := short
FILES :=
PASSTHROUGH := on
HALITE := .build/debug/halite

# Dice thrown for each crash of a disk (`make crash-test`, 10) or worlds of the simulator (`make simulate`,
# 20,000), and applications killed in each journal mode.
SEEDS :=
KILLS := 2000

lint_paths := $(wildcard Sources Tests Package.swift Benchmarks Fuzzing)

.PHONY: help up test built-for-tests conformance crash-test simulate cluster-test fuzz fuzz-test soak bench bench-cluster bench-server deploy-test ha-test alerts-test lint format build clean packages

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## Start three nodes with servers on this machine, to try Halite; Ctrl-C stops them.
	@scripts/up.sh

test: built-for-tests ## Run all tests.
	scripts/test.sh $(TEST_LIMIT)

conformance: packages ## Run SQLite's own tests on a mount; see docs/conformance.md.
	scripts/conformance/build.sh
	[[ "$(HALITE)" != .build/debug/halite ]] || swift build --product halite
	scripts/conformance/run.py --halite "$(HALITE)" --set $(SET) \
	  --passthrough $(PASSTHROUGH) $(FILES)

built-for-tests: packages # The tests, and the command that they run.
	swift build --build-tests
	swift build --product halite
	swift build --product nebulagc-server

fuzz-test: built-for-tests ## Attack every decoder from one seed: make fuzz-test SECONDS=60.
	scripts/fuzz-test.sh $(SECONDS)

fuzz: packages ## Attack the decoders of files: make fuzz SECONDS=60 TARGET=ltx.
	scripts/fuzz.sh $(SECONDS) $(TARGET)

soak: packages ## Three nodes under load and faults: make soak MINUTES=10.
	test -x .build/release/halite -o -x .build/debug/halite || \
	  swift build -c release --product halite
	python3 scripts/soak/soak.py $(MINUTES) \
	  "$$(ls .build/release/halite .build/debug/halite 2>/dev/null | tail -1)"

cluster-test: packages ## Three voters in networks of their own, with faults: make cluster-test ROUNDS=3.
	test -x .build/release/halite -o -x .build/debug/halite || \
	  swift build -c release --product halite
	python3 scripts/cluster/cluster.py $(ROUNDS) \
	  "$$(ls .build/release/halite .build/debug/halite 2>/dev/null | tail -1)" $(SYNC)

crash-test: built-for-tests ## Crash disks, daemons and applications for hours.
	HALITE_CRASH_SEEDS=$(or $(SEEDS),10) HALITE_KILLS=$(KILLS) scripts/test.sh 8h --filter 'Crash|FaultTests'

simulate: built-for-tests ## Elections, logs and databases in simulated worlds: make simulate SEEDS=100000.
	HALITE_SIMULATE_SEEDS=$(or $(SEEDS),20000) scripts/test.sh 8h --filter SimulationTests

bench-cluster: packages ## Measure three voters: commits, failover, catching up, idling, writes from replicas.
	swift build -c release --product halite
	python3 scripts/cluster/measure.py "$$(swift build -c release --show-bin-path)/halite"
	python3 scripts/cluster/forwarding.py "$$(swift build -c release --show-bin-path)/halite"

bench-server: packages ## Measure the control-plane server on three nodes, with wrk.
	swift build -c release --product halite
	swift build -c release --product nebulagc-server
	python3 scripts/server/measure.py "$$(swift build -c release --show-bin-path)"

bench: packages ## Measure beside plain ext4.
	scripts/conformance/build.sh speedtest1
	swift build -c release --product halite
	swift run -c release --package-path Benchmarks \
	  halite-bench --halite "$$(swift build -c release --show-bin-path)/halite" \
	  --speedtest .build-conformance/build/speedtest1 $(BENCH_OPTIONS)

build: packages ## Build the command for use: .build/release/halite.
	swift build -c release --product halite

deploy-test: packages ## Check all of deploy/ with the programs that read it.
	test -x .build/release/nebulagc-server -o -x .build/debug/nebulagc-server || \
	  { swift build --product halite && swift build --product nebulagc-server; }
	scripts/deploy-test.sh

ha-test: packages ## Run every command of docs/ha.md on hosts of network namespaces: make ha-test CHAPTER=topology.
	scripts/ha-test.sh $(CHAPTER)

alerts-test: packages ## Three servers behind HAProxy and NGINX lose their master; Prometheus must notice.
	@test -x .build/release/halite -a -x .build/release/nebulagc-server \
	  -o -x .build/debug/halite -a -x .build/debug/nebulagc-server || \
	  { swift build -c release --product halite && swift build -c release --product nebulagc-server; }
	@python3 scripts/ha/alerts.py "$$(scripts/binaries.sh)"

lint: ## Check the format of all sources.
	swift format lint --strict --recursive $(lint_paths)

format: ## Mend the format of all sources.
	swift format --in-place --recursive $(lint_paths)

clean: ## Remove what was built, and whatever `make up` left.
	scripts/up.sh clean
	rm -rf .build .build-fuzz Benchmarks/.build

packages: # System packages that this machine lacks.
	@scripts/install-packages.sh
