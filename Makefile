# `make` lists the commands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

install: $(VENV)/.default  ## make .venv with the locked default set (no torch, nothing compiled)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.default: requirements/default.txt pyproject.toml $(VENV)/bin/python
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Opora needs Python 3.11 or later; set PYTHON=...")'
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --only-binary :all: -r requirements/default.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

serve: install  ## run everything here, with the sample documents at the first start
	@$(BIN)/opora serve --first-documents samples/documents

$(VENV)/.dev: requirements/dev.txt $(VENV)/.default
	$(BIN)/python -m pip install --quiet --no-deps --only-binary :all: -r requirements/dev.txt
	@touch $@

check: $(VENV)/.dev  ## format, lint, types, floors, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/architecture

test: $(VENV)/.dev  ## install what the tests need and run them all, real parts included
	$(BIN)/python -m tests.prepare
	$(BIN)/pytest
	.cache/st-env/bin/python -m pytest --noconftest -q -m embedding_models tests/contracts/test_embedder.py tests/contracts/test_entailment.py tests/contracts/test_reranker.py

test-clients: $(VENV)/.dev  ## install the real OpenAI clients and Open WebUI (2.7 GB) and ask with each
	$(BIN)/python -m tests.clients

lock: $(VENV)/bin/python  ## write the lock files anew
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile -q --override requirements/overrides.txt --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 --extra cpu pyproject.toml -o requirements/default.txt
	$(BIN)/uv pip compile -q --override requirements/overrides.txt --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 --extra cpu --extra dev pyproject.toml -o requirements/dev.txt
	grep '^#' docker/gpu-requirements.txt > $(VENV)/gpu-head.txt
	echo "torch>=2.13" | $(BIN)/uv pip compile -q --extra gpu -c requirements/default.txt -c /dev/stdin --python-version 3.11 --python-platform x86_64-manylinux_2_28 --only-binary :all: --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml -o $(VENV)/gpu.txt
	cat $(VENV)/gpu-head.txt $(VENV)/gpu.txt > docker/gpu-requirements.txt

bench-samples: install  ## ask the 60 sample questions and print the table
	$(BIN)/python -m benchmarks.samples

bench-retrieval: install  ## CPU of a search by stage, over HTTP and beside two peers (SIZES, DATA)
	$(BIN)/python -m benchmarks.retrieval $(if $(DATA),--data $(DATA)) $(if $(SIZES),--sizes $(SIZES))

bench-answers: $(VENV)/.dev  ## what Opora adds to a real vLLM: waiting, CPU, throughput
	$(BIN)/python -m tests.vllm.server prepare
	$(BIN)/python -m benchmarks.answers

bench-ingest: install  ## chunks per CPU-second beside LangChain, LlamaIndex and txtai (DATA)
	$(BIN)/python -m benchmarks.ingest $(if $(DATA),--data $(DATA))

clean:  ## remove .venv and caches, keep the data
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache

.PHONY: help install serve check test test-clients lock bench-samples bench-retrieval bench-answers bench-ingest clean
