# Everything that people and CI run. Each target does its own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint protos protos-check k8s-check telemetry-check dashboard alerts trace locks audit env-example eval eval-grounding bench bench-captioner bench-generator bench-ranker bench-compositor bench-cost bench-feedback bench-bulk bench-telemetry up down samples clean soak bench-replicas chaos images images-check

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_PRODUCTS := coffee-mug lipstick sofa
PROTOS = $(shell find protos/backdrop -name '*.proto' | sort)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## What there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(READY) ## Install everything into .venv

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Backdrop needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[local,bulk,dev]'
	touch $@

demo: $(READY) ## The main job on the samples; pictures go to demo/, KEEP=1 leaves the servers running
	@export PATH="$(CURDIR)/$(BIN):$$PATH"; \
	backdrop up; \
	[ -n "$(KEEP)" ] || trap 'backdrop down' EXIT; \
	backdrop import samples/library --library samples; \
	for product in $(DEMO_PRODUCTS); do \
		backdrop recommend samples/products/$$product.jpg --library samples --sheet demo/$$product.png; \
	done

# Empty where there is no Docker with Compose, or its daemon does not answer.
COMPOSE := $(if $(filter up down,$(MAKECMDGOALS)),$(shell \
	docker version >/dev/null 2>&1 && docker compose version >/dev/null 2>&1 && echo docker compose))

up: $(if $(COMPOSE),,$(READY)) ## Start everything: containers where Docker Compose is and answers, else processes
	@echo "$(if $(COMPOSE),With Docker Compose.,As processes: no Docker with Compose answers here.)"
	$(if $(COMPOSE),$(COMPOSE) up --build --detach --wait,$(BIN)/backdrop up)

down: ## Stop it, containers and processes; libraries stay
	@$(if $(COMPOSE),$(COMPOSE) --profile "*" down)
	@if [ -x $(BIN)/backdrop ]; then $(BIN)/backdrop down; fi

# Tests that start whole stacks have both cores for themselves; the others share them.
test: $(READY) ## All tests, or some: ARGS="tests/unit/gateway -k rules"
	$(BIN)/pytest $(or $(ARGS),--numprocesses 2 --dist loadfile tests/unit tests/contract)
	$(if $(ARGS),,$(BIN)/pytest tests/integration tests/e2e)

lint: $(READY) protos-check k8s-check telemetry-check audit ## All static checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy chassis gateway jobs services benchmarks deploy client
	$(BIN)/lint-imports
	$(BIN)/hadolint deploy/Dockerfile deploy/ray/Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml
	for profile in "" gpu observability "*"; do COMPOSE_PROFILES="$$profile" $(BIN)/docker-compose config --quiet; done
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/shellcheck --external-sources .ci/run examples/curl.sh deploy/images/*.sh

protos: $(READY) ## Write gen/ anew from protos/
	$(BIN)/buf format --write --path protos/backdrop
	rm -rf gen && mkdir gen
	$(call generate,gen)

# The contract that must not be broken: that of main, or, on main itself, that of the commit before.
AGAINST ?= $(shell git rev-parse --verify --quiet origin/main | grep -vx "$$(git rev-parse HEAD)" || \
	git rev-parse --verify --quiet HEAD~1)

protos-check: $(READY) ## The contracts are linted, gen/ is up to date, and nothing that clients use was broken
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code --path protos/backdrop
	tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; mkdir "$$tmp/gen"; $(call generate,"$$tmp/gen"); \
		diff --recursive --exclude=__pycache__ gen "$$tmp/gen" || { echo "gen/ is not up to date: run make protos"; exit 1; }
	@if [ -n "$(AGAINST)" ] && git cat-file -e "$(AGAINST):buf.yaml" 2>/dev/null; then \
		tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; git archive "$(AGAINST)" protos buf.yaml | tar -x -C "$$tmp"; \
		echo "buf breaking --against $(AGAINST)"; $(BIN)/buf breaking --against "$$tmp"; \
	else echo "No earlier contract to compare with."; fi

k8s-check: $(READY) ## The Kubernetes manifests can be rendered, and the API of oldest and newest Kubernetes takes them
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	for overlay in deploy/k8s/overlays/*/; do \
		$(BIN)/python -m deploy.kustomize "$$overlay" > "$$tmp/$$(basename "$$overlay").yaml"; \
	done; \
	for version in 1.32 1.37; do $(BIN)/kubernetes-validate --strict --quiet -k $$version "$$tmp"/*.yaml; done

telemetry-check: ## Prometheus takes its settings and the alerts, and each fires on what it is for
	@if command -v promtool >/dev/null; then \
		promtool check config deploy/observability/prometheus.yml; \
		promtool test rules deploy/observability/prometheus-alerts-test.yml; \
	else echo "Alerts are not checked: there is no promtool (Debian's package prometheus)."; fi

dashboard: $(READY) ## Write Grafana's dashboard anew from deploy/dashboard.py
	$(BIN)/python -m deploy.dashboard

alerts: $(READY) ## Write the alerts for Prometheus' operator anew
	$(BIN)/python -m deploy.prometheus_operator

trace: $(READY) ## Draw the trace of one recommendation: docs/trace.png
	$(BIN)/python -m benchmarks.trace

locks: $(READY) ## Write requirements/ anew: each image's packages with their hashes
	$(BIN)/python -m deploy.locks

audit: $(READY) ## Known vulnerabilities of what the images install; needs the network, and says so where there is none
	$(BIN)/python -m deploy.audit

env-example: $(READY) ## Write .env.example anew
	$(BIN)/python -m deploy.env_example

eval: $(READY) ## How well the samples are ranked: nDCG@10 and recall@5
	$(BIN)/python -m benchmarks.relevance

eval-grounding: $(READY) ## How many captions claim something wrong, before and after each step against it
	$(BIN)/python -m benchmarks.grounding $(ARGS)

bench: $(READY) ## How long a recommendation takes, and what each process needs
	$(BIN)/python -m benchmarks.latency

bench-captioner: $(READY) ## The captioner against its bare model, one-at-a-time serving and a peer (docs/captioner-performance.md)
	$(BIN)/python -m benchmarks.captioner $(ARGS)

bench-generator: $(READY) ## What an answer of the generator takes: written, and from either cache
	$(BIN)/python -m benchmarks.generator

bench-ranker: $(READY) ## The ranker's store at 10,000 and 100,000 backgrounds, against numpy (ARGS="--sizes 1000000" for more)
	$(BIN)/python -m benchmarks.ranker $(ARGS)

bench-compositor: $(READY) ## What a preview takes (ARGS="--sheet docs/previews.jpg" draws all samples)
	$(BIN)/python -m benchmarks.compositor $(ARGS)

bench-cost: $(READY) ## The CPU time of a recommendation in each process, which benchmarks.capacity counts replicas by
	$(BIN)/python -m benchmarks.cost $(ARGS)

bench-feedback: $(READY) ## What feedback changes for simulated shoppers, on the samples
	$(BIN)/python -m benchmarks.feedback $(ARGS)

bench-telemetry: $(READY) ## What traces and metrics cost a recommendation
	$(BIN)/python -m benchmarks.telemetry $(ARGS)

bench-replicas: $(READY) ## Requests a second with one and two captioners (ARGS=--real for the real one)
	$(BIN)/python -m benchmarks.replicas $(ARGS)

chaos: $(READY) ## Faults in a stack that works (Linux, as root): what clients saw, and what was lost
	$(BIN)/python -m tests.chaos $(ARGS)

soak: $(READY) ## An hour at 70 % of the capacity: latency, memory and handles stay flat (ARGS="--minutes 5 --cores 0")
	$(BIN)/python -m benchmarks.soak $(ARGS)

bench-bulk: $(READY) ## The bulk job with one and two workers, against backdrop import
	$(BIN)/python -m benchmarks.bulk_indexing $(ARGS)

images: $(READY) ## Build all images without Docker, by buildah (Debian's packages buildah and debootstrap; root)
	deploy/images/build.sh $(TARGETS)

images-check: $(READY) ## Start each image that was built, and have them recommend
	$(BIN)/python -m deploy.images.start

samples: ## Render the samples anew with Blender (hours; see samples/README.md)
	$(PYTHON) -m venv .venv-samples
	.venv-samples/bin/pip install --quiet --requirement samples/render/requirements.txt
	.venv-samples/bin/python samples/render/render.py

clean: ## Remove what was installed and made here; libraries in .backdrop/ stay
	rm -rf $(VENV) .venv-samples demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

define generate
$(BIN)/python -m grpc_tools.protoc -I protos -I protos/third_party --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	--plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --python_out=$(1) --grpc_python_out=$(1) \
	--mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) --descriptor_set_out=$(1)/contract.binpb --include_source_info \
	$(PROTOS) buf/validate/validate.proto && \
PYTHONPATH=$(1) $(BIN)/python -m gateway.http.openapi $(1)/contract.binpb $(1)/backdrop/gateway/v1/openapi.json && \
rm $(1)/contract.binpb
endef
