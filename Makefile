# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test gpu check bench dashboards up clean

demo: $(VENV)/.demo
	$(BIN)/paceline demo --output build/demo

test: $(VENV)/.dev
	$(BIN)/python tests/prepare.py
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(PYTEST_FLAGS)

gpu: $(VENV)/.dev
	$(BIN)/pytest -v tests/gpu

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	mkdir -p build/bench
	$(BIN)/python tests/benchmarks/steps.py --output build/bench/steps.json
	$(BIN)/python tests/benchmarks/diagnosis.py --output build/bench/steps.json
	$(BIN)/python tests/benchmarks/step_faults.py --output build/bench/steps.json
	$(BIN)/python tests/benchmarks/agent.py --output build/bench/agent.json
	$(BIN)/python tests/benchmarks/soak.py --output build/bench/soak.json
	$(BIN)/python tests/benchmarks/tuner.py --output build/bench/tuner.json

dashboards: $(VENV)/.dev
	cd dashboards && $(abspath $(BIN))/python -m paceline_dashboards
	$(BIN)/python deploy/kubernetes/generate.py

up: $(VENV)/.dev
	$(BIN)/python deploy/local/up.py

clean:
	rm -rf build $(VENV)

$(VENV)/.demo $(VENV)/.dev: $(VENV)/.%: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
