# Targets a newcomer needs: demo, test. The rest is for those who change the code.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BASE_INSTALLED := $(VENV)/.base-installed
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.bench-installed
RUN := runs/demo
ATTACK := runs/demo-attack
ATTRIBUTE := runs/demo-attribute
TRAINING := runs/demo-train
MODIFY := runs/demo-modify
FIGURES := runs/demo-figures
CLASSES := 1,291,323,417,779,963
REPORT := runs/demo-report
REPRODUCE := runs/reproduce

# Some systems tell Python to keep no compiled modules. Then each of the many processes that tests start compiles them all.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: install demo reproduce test test-all lint docs docs-links bench gpu-bundle

install: $(INSTALLED)

# What users have: no test tools, no other libraries.
$(BASE_INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; $(PYTHON) is %d.%d: name another, as in `make PYTHON=python3.12 demo`" % sys.version_info[:2])'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@echo "Installing PyTorch, Ray and the models: the first time some minutes, most of them for the download."
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(INSTALLED): $(BASE_INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	# Without what they ask for: torchattacks pins an old requests, adv-lib needs visdom, which no longer builds.
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps torchattacks adv-lib
	touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	# Quantus asks for an OpenCV with windows, which needs a screen; the one that grad-cam brings is enough.
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps quantus
	touch $@

# One small sweep of each kind, with a picture after each, and a report of all. The first picture is of the attack, since
# that is the quickest. A second `make demo` continues what was interrupted; sweeps that are complete end at once.
demo: $(BASE_INSTALLED)
	@echo "This demo runs five small sweeps on this machine, a picture after each, and a report at the end."
	@echo "With two free CPU cores it takes about 3 minutes:"
	@echo "  1. Attack:     how easily is a network of clothes fooled?       20 s"
	@echo "  2. Generate:   what does a network think a class looks like?    60 s"
	@echo "  3. Attribute:  which pixels does an answer depend on?           15 s"
	@echo "  4. Modify:     how little turns a boot into a bag?              15 s"
	@echo "  5. Train:      when does a network learn where to look?         35 s"
	@echo "  6. Report:     all of it as web pages                           15 s"
	@echo "Ctrl-C stops it; 'make demo' then continues where it was."
	@echo
	@echo "=== 1 of 6, about 20 s: attack 2,000 test images of Fashion-MNIST by two methods at twelve sizes"
	$(BIN)/python sweeps/attack_all.py --output $(ATTACK) --images 0-1999 --methods fgsm,random_sign
	$(BIN)/python -m analysis.attacks.triptychs $(ATTACK) --output $(FIGURES) --methods fgsm --epsilons 8/255
	@echo
	@echo "=== 2 of 6, about 60 s: generate pictures of six classes of ImageNet by two recipes; two networks judge them"
	$(BIN)/python sweeps/generate_all.py --output $(RUN) --recipes fast,default --classes $(CLASSES) --shard-size 3
	$(BIN)/python -m analysis.generation.judge_accuracy $(RUN)
	$(BIN)/python -m analysis.generation.contact_sheets $(RUN) --output $(FIGURES)
	@echo
	@echo "=== 3 of 6, about 15 s: attribute the answers for 100 images to their pixels, by three methods"
	$(BIN)/python sweeps/attribute_all.py --output $(ATTRIBUTE) --images 0-99
	$(BIN)/python -m analysis.attribution.grids $(ATTRIBUTE) --output $(FIGURES)
	@echo
	@echo "=== 4 of 6, about 15 s: change six images, as little as possible, into each of the ten classes"
	$(BIN)/python sweeps/modify_all.py --output $(MODIFY) --images 0-5
	$(BIN)/python -m analysis.modification $(MODIFY) --output $(FIGURES)
	@echo
	@echo "=== 5 of 6, about 35 s: train the network anew, and watch where it looks after every 10 minibatches"
	$(BIN)/python sweeps/attribute_training.py --output $(TRAINING) --batch-size 64 --every 10 --methods gradient_x_input,loss_gradient
	$(BIN)/python -m analysis.video $(TRAINING) --output $(FIGURES)/training.mp4 --method gradient_x_input
	@echo
	@echo "=== 6 of 6, about 15 s: the report"
	$(BIN)/python -m analysis.report $(ATTACK) $(RUN) $(ATTRIBUTE) $(MODIFY) $(TRAINING) --output $(REPORT)
	@echo
	@echo "Report:          $(REPORT)/index.html, which a browser opens from the disk"
	@echo "Figures:         $(FIGURES)/: triptychs, contact sheets, attributions, strips, training.mp4"
	@echo "Parquet:         $(ATTACK)/results/, $(ATTRIBUTE)/results/, ... (pandas.read_parquet reads a folder)"
	@echo "Next:            $(BIN)/python sweeps/generate_all.py --classes 0-999 --output runs/generate"

# The sweeps that the claims table needs, on Fashion-MNIST and EfficientNet-lite0: about 40 minutes on two cores.
# Stopped, it goes on where it was. With FLOWERS=/path/to/flowers, the folder of Kaggle's photographs, the network for
# them is trained, attacked and explained too: hours without a GPU.
reproduce: $(BASE_INSTALLED) $(REPRODUCE)/alexnet.safetensors $(if $(FLOWERS),$(REPRODUCE)/flowers.safetensors)
	$(BIN)/python sweeps/attack_all.py --output $(REPRODUCE)/attack --checkpoints untrained,trained \
		--methods fgsm,max_norm,max_norm_signed,random_sign,gradient_alone,minimum_fgsm,minimum_max_norm \
		--save-perturbations 0-15
	$(BIN)/python sweeps/attack_all.py --output $(REPRODUCE)/attack-alexnet --model fashion_alexnet \
		--weights $(REPRODUCE)/alexnet.safetensors --epsilons 0 --save-perturbations 0-15
	$(BIN)/python sweeps/attribute_training.py --output $(REPRODUCE)/training-alexnet \
		--model fashion_alexnet --split test --batch-size 1000 --every 10 --segment 10 --panel 0
	$(BIN)/python sweeps/attribute_training.py --output $(REPRODUCE)/training --epochs 2 --every 250 \
		--panel 0-99 --methods gradient_x_input,loss_gradient,training_integrated_gradient
	$(BIN)/python sweeps/attribute_all.py --output $(REPRODUCE)/attribute --images 0-999 \
		--methods gradient_x_input,occlusion,occlusion_gradient_x_input
	$(BIN)/python sweeps/modify_all.py --output $(REPRODUCE)/modify --images 0-199 --num-steps 100 \
		--save-images 0-15
	$(BIN)/python sweeps/generate_all.py --output $(REPRODUCE)/noise --recipes noise_long,sign \
		--image-size 128 --classes 0,125,250,375,500,625,750,875 --shard-size 4
	$(BIN)/python sweeps/generate_all.py --output $(REPRODUCE)/noise --recipes sign --image-size 128 \
		--classes 0,25,50,75,100,125,150,175,200,225,250,275,300,325,350,375,400,425,450,475,500,525,550,575,600,625,650,675,700,725,750,775,800,825,850,875,900,925,950,975 \
		--shard-size 4
	$(BIN)/python sweeps/generate_all.py --output $(REPRODUCE)/generate \
		--recipes plain,softmax_loss,blur,blur_resize,blur_resize_jitter \
		--classes 0,32,64,96,128,160,192,224,256,288,320,352,384,416,448,480,512,544,576,608,640,672,704,736,768,800,832,864,896,928,960,992
	$(BIN)/python sweeps/generate_all.py --output $(REPRODUCE)/lion --recipes blur_resize_jitter \
		--classes 291 --seeds 0-31 --shard-size 8
	$(BIN)/python sweeps/generate_all.py --output $(REPRODUCE)/ant --recipes blur,blur_resize_jitter \
		--classes 310 --seeds 0-11
ifdef FLOWERS
	$(BIN)/python sweeps/attack_all.py --output $(REPRODUCE)/attack-flowers --model flower_deep \
		--weights $(REPRODUCE)/flowers.safetensors --dataset flowers --data-root $(FLOWERS) \
		--checkpoints untrained,trained \
		--methods fgsm,max_norm,max_norm_signed,random_sign,gradient_alone,minimum_fgsm,minimum_max_norm \
		--save-perturbations 0-15
	$(BIN)/python sweeps/attribute_all.py --output $(REPRODUCE)/attribute-flowers --model flower_deep \
		--weights $(REPRODUCE)/flowers.safetensors --dataset flowers --data-root $(FLOWERS) --images 0-199 \
		--methods gradient_x_input,occlusion,occlusion_gradient_x_input
	$(BIN)/python sweeps/modify_all.py --output $(REPRODUCE)/modify-flowers --model flower_deep \
		--weights $(REPRODUCE)/flowers.safetensors --dataset flowers --data-root $(FLOWERS) --images 0-49 \
		--num-steps 100 --save-images 0-15
	$(BIN)/python sweeps/attribute_training.py --output $(REPRODUCE)/training-flowers --model flower_deep \
		--dataset flowers --data-root $(FLOWERS) --epochs 40 --every 200 --segment 1000 --panel 0-49 \
		--methods gradient_x_input,loss_gradient,training_integrated_gradient
endif
	$(BIN)/python -m analysis.claims $(REPRODUCE)/*/ --output $(REPRODUCE)-claims
	@echo "Claims:          $(REPRODUCE)-claims/claims.md, claims.csv, claims.html"

$(REPRODUCE)/alexnet.safetensors: | $(BASE_INSTALLED)
	$(BIN)/python sweeps/train_classifier.py --model fashion_alexnet --recipe original \
		--output $(REPRODUCE)/alexnet.safetensors

$(REPRODUCE)/flowers.safetensors: | $(BASE_INSTALLED)
	$(BIN)/python sweeps/train_classifier.py --model flower_deep --dataset flowers --data-root $(FLOWERS) \
		--output $(REPRODUCE)/flowers.safetensors

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Each process takes whole files, since the tests of a file share what takes long to make; tests/conftest.py says which
# files one process takes together, and puts those first.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: install
	$(PYTEST)

# Everything: faults, several raylets and kill loops included. Those run by themselves: they start clusters, and time out
# where others leave them too little of the cores.
CLUSTERS := tests/faults tests/cluster tests/sweeps/object_stores tests/sweeps/test_store_crash.py
test-all: test
	$(PYTEST) -m long $(addprefix --ignore=,$(CLUSTERS))
	$(PYTEST) -m long $(CLUSTERS)

# The pages of docs/ and of every Markdown file, as .docs/index.html; a link inside that leads nowhere is an error.
DOCUMENTATION := $(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet -c docs
docs: install
	$(DOCUMENTATION) . .docs
	@echo "Documentation:   .docs/index.html"

# Those that lead outside, which needs the internet.
docs-links: install
	$(DOCUMENTATION) -b linkcheck . .docs/links

bench: $(BENCH_INSTALLED)
	$(BIN)/python benchmarks/run_all.py

# What benchmarks/on_gpu.py needs on a machine that has a GPU, Python 3.12, torch and timm, and nothing to install from.
gpu-bundle: install
	$(BIN)/python benchmarks/gpu_bundle.py --output .gpu-bundle
