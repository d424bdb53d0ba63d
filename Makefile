# Everything runs from here, by people and by CI alike. `make test` needs Debian, root and nothing else.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.complete

.PHONY: setup engines test corpus unit lint demo bench clean

setup: $(STAMP) engines

# Debian's python3 makes virtual environments only with python3-venv.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv --clear $(VENV) || { \
	  apt-get -q update && apt-get -qy -o DPkg::Lock::Timeout=300 install --no-install-recommends python3-venv && \
	  $(PYTHON) -m venv --clear $(VENV); }
	$(VENV)/bin/pip install -qq --disable-pip-version-check -e '.[dev]'
	touch $@

# A laptop that cannot have engines skips their tests; CI may not.
engines: $(STAMP)
	$(VENV)/bin/python tests/engines.py install || test "$$CI" != true

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --explicit-package-bases safedocker tests
	$(VENV)/bin/shellcheck shell/docker shell/docker-compose shell/safedocker shell/activate.sh .ci/run

# What compares times runs alone; the rest, which mostly waits for engines, three at a time.
test: setup lint
	$(VENV)/bin/python -m pytest -m alone --reruns 2
	$(VENV)/bin/python -m pytest -m "not alone and not played" -n 3 --dist worksteal --reruns 2

# The whole corpus of lines, played on every engine and client there is, and every step at which a
# run may be killed: half an hour on two cores.
corpus: setup
	$(VENV)/bin/python -m pytest -m played -n 3 --dist worksteal --reruns 2

unit: $(STAMP)
	$(VENV)/bin/python -m pytest -m "not engine and not process"

demo: setup
	$(VENV)/bin/python tests/demo.py

bench: setup
	$(VENV)/bin/python bench/run.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find safedocker tests -name __pycache__ -prune -exec rm -rf {} +
