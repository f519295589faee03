# make demo: everything once, from text to a trained encoder.
# make test: all tests.   make test-fast: those without the mark "slow".
# make check: format, lint, types, layers.   make bench: speed, as ratios (benchmarks/README.md).
# make gpu: right, fast, learning, on a machine with one GPU, in 8 minutes.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
DEMO := demo

# Compiled files are kept, whatever the environment says: thousands of processes start.
export PYTHONDONTWRITEBYTECODE :=

# One test process per core. Single tests are handed out, so that no process queues slow ones.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxschedchunk 1

.PHONY: demo test test-fast check bench gpu format

# Not all 20,000 files are compiled: what is imported is, when it is.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED)
	@set -e; mkdir -p $(DEMO); cd $(DEMO); PATH="$(CURDIR)/$(BIN):$$PATH"; \
	run=tiny-$$(date +%Y-%m-%d-%H%M%S); \
	echo "== electra prepare"; electra prepare; \
	echo "== electra train --preset tiny"; electra train --preset tiny --run-name $$run; \
	echo "== electra plot"; electra plot runs/$$run; \
	echo "== the trained models, through transformers"; \
	python ../examples/find_replaced.py runs/$$run; \
	echo; \
	echo "Next, in $(DEMO)/ with ../.venv/bin on the PATH:"; \
	echo "  open runs/$$run/loss_curve.html"; \
	echo "  electra prepare YOUR_TEXTS/*.txt --out data/mine --vocab-size 8192"; \
	echo "  electra train --preset small --data data/mine --dry-run"; \
	echo "Four minutes taught this encoder too little to gain by a fine-tune (docs/study.md)."; \
	echo "One that gains, after about an hour on your texts:"; \
	echo "  electra train --preset mini --set objective.name=mlm --data data/mine"

test: $(INSTALLED)
	$(PYTEST)

test-fast: $(INSTALLED)
	$(PYTEST) -m "not slow"

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Baselines of the bench ask for packages that they do not need here (an old transformers, psutil),
# hence --no-deps.
bench: $(INSTALLED)
	$(BIN)/pip install --quiet --no-deps electra-pytorch==0.1.2 accelerate==1.15.0
	$(BIN)/python -m benchmarks $(PARTS)

gpu: $(INSTALLED)
	$(BIN)/python -m benchmarks.gpu

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
