# Reading Digits. `make` alone lists what there is to make.

PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
NOTEBOOKS := $(wildcard book/*.ipynb)
PARALLEL := --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
# The last pages are the longest: they begin.
NBVAL := $(BIN)/pytest --nbval-current-env $(PARALLEL) $(shell printf '%s\n' $(NOTEBOOKS) | sort -r)

NB_CLEAN := --preserve-cell-outputs --preserve-execution-counts \
	--preserve-cell-metadata-field mystnb --preserve-cell-metadata-field tags

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | awk -F'|' '{printf "%-17s%s\n", $$1, $$2}'

book: .venv/ready  ## build the site
	rm -rf _build
	$(BIN)/python tools/live.py
	$(BIN)/jupyter-book build . -W --keep-going -n
	@echo "Open $(CURDIR)/_build/html/index.html"

test: lint unit strict book links browser  ## what CI checks before it runs the pages as on Colab; each part is a target, too

lint: .venv/ready  ## ruff on code and notebooks, and no volatile metadata in notebooks
	$(BIN)/ruff check
	$(BIN)/nb-clean check $(NB_CLEAN) book

unit: .venv/ready  ## tests of nets, the ledger and the pages
	$(BIN)/pytest $(PARALLEL)

strict: .venv/ready  ## run every page from the ledger: each output must be the stored one
	NETS_MODE=recorded $(NBVAL) --nbval

quick: .venv/ready  ## run every page with short trainings, as `make colab` does with other versions: nothing may fail
	NETS_MODE=quick $(NBVAL) --nbval-lax

colab: .venv/ready  ## run every page as on Colab, with its versions: make colab, or make colab ASK="--sets now"
	$(BIN)/python tools/colab.py --jobs $(JOBS) $(ASK)

links: book  ## links and anchors inside the site must lead somewhere, and nothing may come from outside
	$(BIN)/python tools/check_site.py _build/html

browser: book  ## every page of the site in Chromium, and the figures to play with
	$(BIN)/pytest -m browser --numprocesses $(JOBS) tests/test_site.py tests/test_live.py

firefox: book  ## every page and figure in Firefox, too
	npm ci --prefix tests/firefox --ignore-scripts --no-audit --no-fund --silent
	FIREFOX=$$(command -v firefox-esr || command -v firefox) node --test --test-reporter spec tests/firefox/firefox.test.mjs

run: .venv/ready  ## run one page in place: make run NOTEBOOK=book/01-shallow-baseline.ipynb
	@test -f "$(NOTEBOOK)" || { echo "Name the page: make run NOTEBOOK=book/01-shallow-baseline.ipynb"; exit 2; }
	CI=true $(BIN)/python tools/run_page.py "$(NOTEBOOK)"
	$(BIN)/nb-clean clean $(NB_CLEAN) "$(NOTEBOOK)"

pages: .venv/ready  ## renew the stored outputs and the table of results from the ledger
	printf '%s\n' $(NOTEBOOKS) | NETS_MODE=recorded xargs -n 1 -P $(JOBS) $(BIN)/python tools/run_page.py
	$(BIN)/nb-clean clean $(NB_CLEAN) $(NOTEBOOKS)
	$(BIN)/python tools/results.py
	$(BIN)/python benchmarks/growth.py

full: .venv/ready  ## train what the ledger lacks, at full scale: make full, or PAGES="05 07" RUNS=5, or CLUSTER=auto
	$(BIN)/python tools/full.py $(PAGES) $(if $(RUNS),--runs $(RUNS)) $(if $(CLUSTER),--cluster $(CLUSTER))

cluster: .venv/ready  ## install Ray, for make full CLUSTER=…, and test it on a cluster of two nodes here
	$(BIN)/uv pip install --quiet -r requirements-cluster.txt
	KERAS_BACKEND=jax $(BIN)/pytest --numprocesses 0 tests/test_cluster.py

# PyTorch's rows need .venv/bin/pip install torch==2.13.0 (and a C++ compiler for the compiled one).
benchmark: .venv/ready  ## measure the time of a training step, for the page on speed: 20 idle minutes
	$(BIN)/python benchmarks/benchmark.py

serve: book  ## build the site and serve it at http://127.0.0.1:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _build/html 8000

pdf: book  ## print the whole book to _build/reading-digits.pdf
	$(BIN)/python tools/pdf.py _build/html _build/reading-digits.pdf

repository:  ## move to another public address: make repository URL=https://github.com/OWNER/NAME
	$(PYTHON) tools/repository.py "$(URL)"

clean:  ## remove the site and the virtual environment
	rm -rf _build .venv .venv-colab-*

lock: .venv/ready  ## name every package that requirements.txt needs, with its hashes, in requirements.lock
	$(BIN)/uv pip compile requirements.txt --universal --python-version 3.11 --generate-hashes --quiet \
		--custom-compile-command "make lock" --output-file requirements.lock

newest: .venv/ready  ## install the newest versions of what trains and draws, to see whether they do; undo: make clean
	sed '/^# site/,$$!s/==.*//' requirements.txt > .venv/newest.txt
	$(BIN)/uv pip install --quiet --upgrade -r .venv/newest.txt

.venv/ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12), (3, 13)])' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ..."; exit 2; }
	@echo "Installing requirements.lock into .venv: about 800 MB, once"
	rm -rf .venv
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt
	$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install -qq --disable-pip-version-check --no-deps --editable .
	touch $@

.PHONY: help book test lint unit strict quick colab links browser firefox run pages full cluster benchmark serve pdf repository lock newest clean
