# Every target is a line or two that a person could type; continuous integration runs `make lint` and `make test`.
PORT ?= 50051
PYTHON ?= python3
HEADWATER_ADDR ?= http://127.0.0.1:$(PORT)
export HEADWATER_ADDR
# Labelled rows, one file a task; where the folder is absent random texts are asked.
ROWS ?= ../shared/data/validation

.PHONY: help setup prerequisites libtorch build run test lint torture bench bench-gpu accuracy parity
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## serve the starter bundle on localhost: set up, build, tour, until Ctrl-C (PORT=50052, ARGS="--device cuda:0")
	@python3 deploy/run.py $(ARGS)

test: setup ## every test of the workspace
	@python3 deploy/test.py

torture: setup ## all that may happen to heads: kills, failing disks, power cuts, races; a table within 20 minutes (ARGS="power")
	@python3 deploy/torture.py $(ARGS)

lint: setup ## format, clippy, documentation, contract and dependency rules
	@sh deploy/lint.sh

bench: build ## the encoder and the server beside other engines, with targets (makes .venv-bench; QUICK=1: 5 minutes)
	@sh deploy/bench.sh $(if $(QUICK),--quick) $(ARGS)

accuracy: build ## what bf16 and int8 change of the starter's answers in fp32 (ROWS=DIR, ARGS="--dtypes bf16 --record")
	target/release/headwater-server accuracy --bundle registry/starter $(addprefix --data ,$(wildcard $(ROWS))) $(ARGS)

bench-gpu: ## the encoder on an NVIDIA GPU beside other engines, with targets (PYTHON= one with PyTorch; ARGS=--smoke: no GPU)
	@$(PYTHON) deploy/bench_gpu.py $(ARGS)

parity: build ## tokenizer and full-size encoder against a live `transformers` (makes .venv)
	@sh deploy/parity.sh $(ARGS)

build: setup ## the two programs, in release
	@cargo build --release -p server -p cli

setup: prerequisites libtorch ## what a first build needs: the prerequisites, and libtorch in .libtorch

prerequisites:
	@sh deploy/prerequisites.sh

libtorch: prerequisites
	@python3 deploy/libtorch.py
