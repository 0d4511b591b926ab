# Every target makes its environment first; `make` alone lists them. Nothing is installed outside this folder, except
# Debian's docker.io by scripts/with_docker.sh, which says so.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PY := .venv/bin/python
DOCKER := scripts/with_docker.sh
# Two workers: more only fight over the Docker daemon. One file stays on one worker, so its fixtures are made once.
PYTEST := $(PY) -m pytest -n 2 --dist loadfile --durations=5

.PHONY: help env demo test soak check format bench boxbench agentdojo table lock wheel

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

env: ## Make .venv from the pinned requirements (once)
	@scripts/env.sh

demo: env ## Run the support desk: one governed agent, every part real
	@$(DOCKER) $(PY) -m examples.support_desk

test: env ## Run every test but the long counts (about 10 minutes)
	@$(DOCKER) $(PYTEST) -m "not soak"

soak: env ## Run the long counts
	@$(DOCKER) $(PY) -m pytest -m soak --hypothesis-profile=soak --timeout=3600 --durations=5

check: env ## Lint, types, layers, architecture
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo
	@$(PY) -m pytest -q tests/architecture

format: env ## Put the code in the house format
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

bench: env ## Print what a governed call costs, with the rivals beside it
	@$(DOCKER) $(PY) -m benchmarks.speed
	@$(PY) -m benchmarks.policy
	@$(PY) -m benchmarks.audit
	@$(PY) -m benchmarks.audit_reading
	@$(PY) -m benchmarks.openai

boxbench: env ## Print what a sandboxed run costs, beside docker run and llm-sandbox
	@$(DOCKER) $(PY) -m benchmarks.sandbox

agentdojo: env ## Replay AgentDojo's banking and travel tasks through Toolgate
	@scripts/agentdojo.sh

table: env ## Render tests/adversarial/README.md again
	@$(PY) scripts/adversarial_table.py

lock: env ## Pin every requirements/*.in again, by hash and naming no index
	@uv=$$(dirname "$$(scripts/own-env.sh lock)")/uv && for name in runtime dev lock agentdojo rivals rivals-sandbox; do \
		echo "lock: requirements/$$name.txt"; \
		"$$uv" pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
			--no-annotate "requirements/$$name.in" --output-file "requirements/$$name.txt" || exit; \
	done

wheel: env ## Build dist/toolgate-*.whl
	@$(PY) -m build --no-isolation --wheel
