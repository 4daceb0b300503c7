# Two commands: `make sample` runs the whole job on a sample world, `make test` runs all tests.
# Both make the environment first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready
USERS ?= 2000
SEED ?= 0
DUMPS ?= ../shared/data/reddit
GRAPHS ?= ../shared/data/graphs
KUBERAY := github.com/ray-project/kuberay/ray-operator@v1.3.2
PRISM := github.com/apache/beam/sdks/v2/go/cmd/prism

.PHONY: help env sample test check format bench-sample bench-ingest bench-embed bench-dumps bench-persona fuzz-ingest
.PHONY: bench-graph-quality train-tiny-clip bench-refresh dagster crds bench-graph-scale
.PHONY: flink-up flink-down prism clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

env: $(READY)  ## the virtual environment, all versions pinned
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

sample: env  ## the whole job on a sample world: runs/local_sample/report.html
	$(BIN)/tastegraph sample --users $(USERS) --seed $(SEED)

test: env  ## all tests
	$(BIN)/python -m pytest

check: env  ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: env  ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-sample: env  ## the sample run on three seeds: runs/bench/sample.json
	$(BIN)/python -m orchestration.bench.sample --seeds 0,1,2 --users $(USERS)

$(BENCH_READY): $(READY)
	$(BIN)/python -c 'import duckdb' 2>/dev/null || $(BIN)/python -m pip install --quiet \
		--constraint constraints.txt --editable '.[dev,bench]'
	touch $@

bench-ingest: $(BENCH_READY)  ## ingest beside zstd, scripts and DuckDB: runs/bench/ingest.json; ARGS=--quick
	$(BIN)/python -m orchestration.bench.ingest $(ARGS)

bench-dumps: env  ## what ingest makes of each file below DUMPS: runs/bench/dumps.json
	$(BIN)/python -m orchestration.bench.dumps $(DUMPS)

bench-graph-scale: env  ## 22 million users built, trained, inferred: runs/bench/graph_scale.json; ARGS=--quick
	$(BIN)/python -m orchestration.bench.graph_scale $(ARGS)

fuzz-ingest: env  ## a million mutated lines, 200 mutated files: runs/bench/fuzz.json
	$(BIN)/python -m tests.pipelines.fuzz $(ARGS)

bench-embed: env  ## decode, embedding, kills, HTTP, a GPU if there is one: runs/bench/embed.json; ARGS=--quick
	$(BIN)/python -m orchestration.bench.embed $(ARGS)

bench-persona: env  ## verbalizers, store, API, erasure, injections: runs/bench/persona.json; ARGS=--quick
	$(BIN)/python -m orchestration.bench.persona $(ARGS)

bench-refresh: env  ## a 13th month, a parallel backfill, faults: runs/bench/refresh.json; ARGS=--quick
	$(BIN)/python -m orchestration.bench.refresh $(ARGS)

dagster: env  ## Dagster over the sample run, at port 3000
	$(BIN)/python -c 'import dagster_webserver' 2>/dev/null || $(BIN)/python -m pip install --quiet \
		--constraint constraints.txt --editable '.[dev,dagster]'
	mkdir -p runs/dagster && cp infra/dagster/dagster.yaml runs/dagster/
	DAGSTER_HOME=$(CURDIR)/runs/dagster $(BIN)/dagster dev -m orchestration.dagster.definitions

crds: build/crds  ## KubeRay's definitions, to hold the manifests to: build/crds
build/crds:
	@command -v go >/dev/null || { echo "error: go is not on the PATH: install Go" >&2; exit 69; }
	mkdir -p build/kuberay && cd build/kuberay && (test -f go.mod || go mod init crds) && \
		GOFLAGS=-mod=mod go get -d $(KUBERAY)
	mkdir -p $@.tmp && cp "$$(cd build/kuberay && go list -m -f '{{.Dir}}' \
		$(firstword $(subst @, ,$(KUBERAY))))"/config/crd/bases/*.yaml $@.tmp/ && mv $@.tmp $@

bench-graph-quality: env  ## the encoder beside linear models on the graphs in GRAPHS: runs/bench/graph_quality.json; ARGS=--quick
	$(BIN)/python -m orchestration.bench.graph_quality --data $(GRAPHS) $(ARGS)

train-tiny-clip: env  ## train the shipped CLIP again (half an hour)
	$(BIN)/python -m embed.tiny_clip.train --minutes 28 --seed 0 --out embed/tiny_clip/weights

flink-up: env  ## a local Flink for stage 1, until flink-down: build/flink
	$(BIN)/python infra/flink/local.py up

flink-down: env  ## stop it
	$(BIN)/python infra/flink/local.py down

prism: env  ## Beam's Prism runner, built by Go: build/prism/prism
	@command -v go >/dev/null || { echo "error: go is not on the PATH: install Go 1.26 or later" >&2; exit 69; }
	GOBIN=$(CURDIR)/build/prism go install $(PRISM)@v$$(sed -n 's/^apache-beam==//p' constraints.txt)

clean:  ## remove runs and caches, keep the environment
	test ! -f build/flink/state.json || $(BIN)/python infra/flink/local.py down
	rm -rf runs build .pytest_cache .mypy_cache .ruff_cache
