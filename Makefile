# Targets a newcomer needs: demo, test. The rest is for those who change the code.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.bench-installed
RUN := runs/demo
ATTACK := runs/demo-attack
ATTRIBUTE := runs/demo-attribute
TRAINING := runs/demo-training
MODIFY := runs/demo-modify
FIGURES := runs/demo-figures

.PHONY: install demo test test-all lint bench

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps torchattacks
	touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	touch $@

# All 10,000 test images of Fashion-MNIST attacked at twelve ε; what the model looks at, and how it came to look there
# in an epoch of training; then twelve classes that anybody can name, generated under four recipes, judged and drawn.
demo: install
	$(BIN)/python sweeps/attack_all.py --output $(ATTACK) --methods fgsm,random_sign,minimum_fgsm
	$(BIN)/python -m analysis.success_rates $(ATTACK) --by method,epsilon
	$(BIN)/python -m analysis.attack_curves $(ATTACK) --output $(FIGURES)
	$(BIN)/python -m analysis.triptychs $(ATTACK) --output $(FIGURES) --methods fgsm --epsilons 0.01,8/255
	$(BIN)/python sweeps/attribute_all.py --output $(ATTRIBUTE) --images 0-199
	$(BIN)/python -m analysis.attribution_grids $(ATTRIBUTE) --output $(FIGURES)
	$(BIN)/python -m analysis.attribution_scores $(ATTRIBUTE) --output $(FIGURES)
	$(BIN)/python sweeps/attribute_training.py --output $(TRAINING) --every 10 --methods gradient_x_input,loss_gradient
	$(BIN)/python -m analysis.recapitulation $(TRAINING) --output $(FIGURES)
	$(BIN)/python -m analysis.video $(TRAINING) --output $(FIGURES)/training.mp4 --method gradient_x_input
	$(BIN)/python sweeps/modify_all.py --output $(MODIFY) --images 0-7
	$(BIN)/python -m analysis.modifications $(MODIFY) --output $(FIGURES)
	$(BIN)/python sweeps/generate_all.py --output $(RUN) --recipes default,fast,blur,plain \
		--classes 1,107,291,323,340,417,483,779,863,954,963,980
	$(BIN)/python -m analysis.judge_accuracy $(RUN)
	$(BIN)/python -m analysis.contact_sheets $(RUN) --output $(FIGURES)
	$(BIN)/python -m analysis.recipe_strips $(RUN) --output $(FIGURES)
	@echo
	@echo "Figures:         $(FIGURES)/: curves, triptychs, attributions, training.mp4, contact sheets, strips"
	@echo "Parquet:         $(ATTACK)/results/, $(ATTRIBUTE)/results/, ... (pandas.read_parquet reads a folder)"
	@echo "Next:            $(BIN)/python sweeps/generate_all.py --classes 0-999 --output runs/generate"

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: install
	$(BIN)/python -m pytest

# Everything: faults, several raylets and kill loops included.
test-all: install
	$(BIN)/python -m pytest -m 'long or not long'

bench: $(BENCH_INSTALLED)
	$(BIN)/python benchmarks/run_all.py
