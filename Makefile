PYTHON ?= python3
BIN := .venv/bin

# The stages call `python`: the one of the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)

PORT ?= 8000

# DVC stops in a folder without git unless it is told.
NO_GIT := $(if $(shell git rev-parse --git-dir 2>/dev/null),,no-git)

# Tests that need none of the packages for training.
PREDICTING := fer/predict fer/images fer/video $(addprefix tests/test_,cli.py detection.py drawing.py \
  faces_in_videos.py files.py recognizer.py timeline.py video.py)

.PHONY: FORCE demo no-git repro test test-fast test-lowest reliability test-long lint weights release

repro: .venv/train $(NO_GIT)  ## set up, and run every stage on the data set that params.yaml names
	$(BIN)/dvc repro --force
	@echo
	@echo "The report: plots/<dataset>/<size>/report.html, for the sample plots/sample/nano/report.html"
ifeq ($(NO_GIT),)
	@echo "git status lists $$(git status --porcelain | wc -l) files: the results as measured on this machine."
	@echo "Keep them:    git commit -m 'Rerun the sample' dvc.lock data metrics models plots"
	@echo "Discard them: git checkout dvc.lock data metrics models plots"
endif

no-git: .venv/train
	@echo "note: this folder is no git repository, as after unpacking a ZIP: dvc repro works, but"
	@echo "      dvc exp and dvc diff need 'git clone'"
	$(BIN)/dvc config --local core.no_scm true

test: .venv/test  ## set up, and run the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test-fast: .venv/test  ## the same without the slow tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto -m 'not qemu and not slow and not reliability and not long'

test-long: .venv/test  ## whole pipelines as in README and the notebook, the real FER2013, a browser
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto -m long

test-lowest: $(BIN)/python  ## test predicting with the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv .venv-lowest
	$(BIN)/python -m scripts.lowest video train > .venv-lowest/constraints.txt
	.venv-lowest/bin/pip install --quiet -c .venv-lowest/constraints.txt \
	  --editable '.[video]' hypothesis matplotlib onnx pandas pydantic pytest ruamel.yaml
	OMP_NUM_THREADS=1 .venv-lowest/bin/pytest -m 'not slow and not qemu and not reliability and not long' \
	  $(PREDICTING)

demo: demo/dist  ## build the page that runs in a browser, and serve it on this machine
	@command -v "$(PYTHON)" >/dev/null || { echo "error: needs Python; make demo PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import socket; socket.create_server(("127.0.0.1", $(PORT))).close()' 2>/dev/null \
	  || { echo "error: port $(PORT) is in use; make demo PORT=8080"; exit 1; }
	@echo "The page: http://127.0.0.1:$(PORT) (Ctrl-C ends it). Any static host can serve demo/dist."
	@$(PYTHON) -m http.server $(PORT) --bind 127.0.0.1 --directory demo/dist >/dev/null 2>&1

demo/dist: FORCE .venv/train
	@command -v npm >/dev/null || { echo "error: needs npm; install Node.js 20 or newer"; exit 1; }
	npm --prefix demo install --silent --no-fund --no-audit
	rm -rf demo/models && mkdir demo/models
	set -e; for model in $(or $(MODEL),nano small base large); do \
	  $(BIN)/fer export "$$model" --whole "demo/models/$$(basename "$$model" .onnx).onnx"; done
	node demo/build.mjs

reliability: .venv/test  ## kills, faults, bad input and fuzzing, for half an hour
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxschedchunk 1 \
	  -m "reliability or not reliability" tests/reliability
	$(BIN)/pip install --quiet --editable '.[train,test,fuzz]'
	$(BIN)/python tests/reliability/fuzz_csv.py -runs=1000000 -max_total_time=180

lint: .venv/test  ## check style, imports, types and the tables of README and docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m scripts.tables --check

weights:  ## make the models of FER2013 those of the package
	for size in $(notdir $(patsubst %/fer.int8.onnx,%,$(wildcard models/fer2013/*/fer.int8.onnx))); do \
	  cp models/fer2013/$$size/fer.int8.onnx fer/weights/$$size.int8.onnx || exit 1; done
	cp models/fer2013/nano/fer.onnx fer/weights/nano.float32.onnx

release: .venv/test  ## check version, changelog, lint, tests, wheel, models; upload nothing
	$(BIN)/python -m scripts.release

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv .venv

.venv/train: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[train]'
	touch $@

.venv/test: pyproject.toml .venv/train
	$(BIN)/pip install --quiet --editable '.[train,test]'
	touch $@
