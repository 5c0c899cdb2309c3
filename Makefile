# Everything sets itself up in .venv the first time, from the versions in constraints.txt. `make help` lists the rest.

PYTHON ?= python3.11
PROFILE ?= tiny
BIN := .venv/bin
STUDY := $(BIN)/python -m study

# What a user may set: make study TRIALS=20, make study PROFILE=t4 CORPUS=... LEXICON=... MODEL=..., or any knob
# with SET="train.rows=new train.steps=100".
SETTINGS = $(if $(TRIALS),study.trials=$(TRIALS)) $(if $(CORPUS),"corpus.path=$(CORPUS)") \
	$(if $(LEXICON),"vocabulary.lexicon=$(LEXICON)") $(if $(MODEL),"model.path=$(MODEL)") $(SET)

.PHONY: help study ui export report test check format bench figures screenshots clean

help: ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

study: .venv/run ## Run the study, or continue it
	@$(STUDY) run $(PROFILE) $(SETTINGS)

ui: .venv/run ## MLflow on loopback, with links that open on the trials (PORT=5000)
	@$(STUDY) ui $(PROFILE) $(SETTINGS) $(if $(PORT),--port $(PORT))

export: .venv/run ## The chosen trial as a model folder (TRIAL=7, OUT=folder)
	@$(STUDY) export $(PROFILE) $(SETTINGS) $(if $(TRIAL),--trial $(TRIAL)) $(if $(OUT),--out "$(OUT)")

report: .venv/run ## One HTML page about the study
	@$(STUDY) report $(PROFILE) $(SETTINGS)

test: .venv/dev ## All tests
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

check: .venv/dev ## Format, lint, types, import floors
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

format: .venv/dev ## Put the format right
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: .venv/dev ## Benchmarks, written to docs/figures
	@$(BIN)/python -m bench.training && $(BIN)/python -m bench.vocabulary

figures: .venv/dev ## The study twice and a fresh clone, measured: docs/figures (half an hour)
	@$(BIN)/python -m bench.study && $(BIN)/python -m bench.clone

screenshots: .venv/dev report ## The MLflow UI and the report in the machine's Chromium: docs/screenshots
	@$(BIN)/python -m bench.screenshots

clean: .venv/run ## Delete all results, after asking
	@$(STUDY) clean

# Set-up
.venv/run: pyproject.toml constraints.txt
	@echo "set-up: a virtual environment in .venv (a few minutes, once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/dev: .venv/run
	@echo "set-up: tools for tests and checks"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
