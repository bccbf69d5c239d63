# On a fresh machine `make study` and `make test` set up everything they need in .venv.
PYTHON ?= python3
BIN := .venv/bin
DATA ?= data=synthetic
# the name of the data: its option, or that of a file without its endings
FILE = $(firstword $(subst ., ,$(notdir $(patsubst data.path=%,%,$(firstword $(filter data.path=%,$(DATA)))))))
NAME = $(or $(patsubst data=%,%,$(firstword $(filter data=%,$(DATA)))),$(FILE),synthetic)

.DEFAULT_GOAL := help
.PHONY: help setup study test test-slow test-browser test-reference test-team team faults lint coverage bench docs docs-serve ui clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("recsweep needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: .venv/.installed ## create .venv and install recsweep into it

study: setup ## the main job: baselines, the grid with both losses, and both refitted on test (DATA="data.path=likes.csv")
	$(BIN)/python train.py -cd experiments -cn baselines $(DATA)
	$(BIN)/python train.py -cd experiments -cn grid18_loss $(DATA)
	BIN=$(BIN) bash experiments/final.sh $(NAME)
	@echo "Open the runs in a browser: $(BIN)/recsweep ui"

test: setup lint ## fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not browser and not reference and not team"

test-slow: setup ## slow tests: wheel, full-size files, faults, accuracy on the real data
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow

test-team: .venv-team/.installed ## PostgreSQL, MLflow's server, Ray and Optuna Dashboard, started by the tests, in their short form
	OMP_NUM_THREADS=1 .venv-team/bin/python -m pytest -n 2 --dist loadfile -m team

team: .venv-team/.installed ## the same in full: many workers on two machines, killed and cut off, with a table of what became of them
	OMP_NUM_THREADS=1 .venv-team/bin/python -m pytest -m team --full -s

faults: setup ## shoot at it: every kill, bad input and poisoned artifact, with a table of what became of them; the long form of slow tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults tests/tuning/test_processes.py tests/accuracy tests/test_resampling.py tests/test_documented_commands.py --full -s

test-browser: setup ## the MLflow UI in headless Chromium
	$(BIN)/python -m pytest -m browser

# venvs of their own, which see .venv, so that what the references and the peers need changes nothing there
.venv-%/.installed: .venv/.installed
	$(PYTHON) -m venv .venv-$*
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" > \
	  "$$(.venv-$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/venv.pth"
	.venv-$*/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[$*]'
	touch $@

test-reference: .venv-reference/.installed ## models against independent implementations, which it installs
	OMP_NUM_THREADS=1 .venv-reference/bin/python -m pytest -m reference tests/reference

lint: setup ## style, types and direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

coverage: setup ## how often verdicts are wrong: 200 small trainings (FOODCOM=file for fresh samples of its users too)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/coverage.py seeds --processes 2
	$(if $(FOODCOM),OMP_NUM_THREADS=1 $(BIN)/python benchmarks/coverage.py users data=foodcom data.path=$(FOODCOM))

bench: .venv-bench/.installed ## every benchmark, also beside Keras, Lightning, plain Hydra and implicit, into benchmarks/RESULTS.md: 20 minutes (BENCH="--only step epoch" for some)
	$(BIN)/python benchmarks/bench.py $(BENCH)

docs: export NO_MKDOCS_2_WARNING = 1
docs: .venv-docs/.installed ## the documentation as a site, strictly, into site/
	.venv-docs/bin/mkdocs build --strict

docs-serve: export NO_MKDOCS_2_WARNING = 1
docs-serve: .venv-docs/.installed ## the same in a browser, made anew when a file changes
	.venv-docs/bin/mkdocs serve

ledger: setup ## published results beside ours, into docs/ledger.md (RECSWEEP_DATA=folder of their data)
	$(BIN)/recsweep ledger --workers 2 --out docs/ledger.md

ui: setup ## open the runs in a browser
	$(BIN)/recsweep ui

clean: ## remove .venv and caches, never mlruns/
	rm -rf .venv .venv-bench .venv-docs .venv-reference .venv-team site .pytest_cache .ruff_cache .import_linter_cache
