# Everything a contributor or CI runs. Bare `make` is `make check`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
CONSTRAINTS = .ci/constraints.txt
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: check lint format test test-fast try demo notebooks docs api commands bundle bench starter-figures

check: lint test

# The core only: no torch, a few hundred megabytes.
$(VENV)/.core: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "clipkit needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/.demo: $(VENV)/.core
	$(PIP) --editable ".[demo]"
	touch $@

# torch first and by itself: its exact build decides what the rest may be.
$(VENV)/.dev: pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --constraint $(CONSTRAINTS) torch torchvision
	$(PIP) --constraint $(CONSTRAINTS) --editable ".[dev]"
	touch $@ $(VENV)/.core $(VENV)/.demo

try: $(VENV)/.core
	@echo '$$ clipkit search "a cat" demo/samples -t 3'
	@$(BIN)/clipkit search "a cat" demo/samples -t 3
	@echo
	@echo '$$ clipkit search "sailing boats" demo/samples -t 3'
	@$(BIN)/clipkit search "sailing boats" demo/samples -t 3
	@echo
	@echo '$$ clipkit classify demo/samples/owl.jpg demo/samples/castle.jpg demo/samples/coffee_cup.jpg --labels-file demo/samples/labels.txt'
	@$(BIN)/clipkit classify demo/samples/owl.jpg demo/samples/castle.jpg demo/samples/coffee_cup.jpg --labels-file demo/samples/labels.txt
	@echo
	@echo 'Now your own images:  $(BIN)/clipkit search "a red boat" ~/Pictures'
	@echo 'In a browser:           make demo'

demo: $(VENV)/.demo
	$(BIN)/clipkit demo

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pydoclint --quiet clipkit
	$(BIN)/lint-imports

# A real Milvus server for the tests of its store, in an environment of its own: its wheel is old.
# Where there is none for the machine, those tests are skipped and say so.
$(VENV)-milvus/.installed:
	test -x $(VENV)-milvus/bin/python || $(PYTHON) -m venv $(VENV)-milvus
	$(VENV)-milvus/bin/python -m pip install --quiet --disable-pip-version-check 'milvus==2.3.5' 'setuptools<81' \
		&& $(VENV)-milvus/bin/python -c 'import milvus; milvus._initialize_data_files("$(VENV)-milvus/server")' \
		|| echo 'no Milvus server for this machine: the tests that need one will be skipped'
	touch $@

# Side by side; more than four processes would wait for each other's memory.
PYTEST = $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

test: $(VENV)/.dev $(VENV)-milvus/.installed
	$(PYTEST)

# For the daily loop: every module is tested, but by no test that is marked slow.
test-fast: $(VENV)/.dev
	$(PYTEST) -m "not slow"

# Side by side with peers, in .bench (7 GB), on an idle machine. To add options:
# make bench BENCH="--quick"  or  BENCH="--only zero_shot"  or  BENCH="--write-docs".
bench: $(VENV)/.dev
	$(BIN)/python benchmarks/run_all.py $(BENCH)

# The .ipynb files, from their reviewed sources in percent format.
notebooks: $(VENV)/.dev
	$(BIN)/python notebooks/build.py

# The documentation as a site, in build/docs/site, with every link checked.
docs: $(VENV)/.dev
	$(BIN)/python docs/build_site.py

# docs/commands.md and the man page, from the parsers of the command line.
commands: $(VENV)/.dev
	$(BIN)/python docs/write_commands.py

# docs/api.md and the stub for type checkers and editors, from the table in clipkit/__init__.py.
api: $(VENV)/.dev
	$(BIN)/python docs/write_api.py

# The starter's ONNX graphs, from its checkpoint.
bundle: $(VENV)/.dev
	$(BIN)/python weights/starter/compile.py

# The figures of weights/starter/CARD.md, in an environment of its own: the recipe pins versions.
$(VENV)-starter/.installed: weights/starter/requirements.txt
	test -x $(VENV)-starter/bin/python || $(PYTHON) -m venv $(VENV)-starter
	$(VENV)-starter/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< --editable '.[torch]'
	touch $@

starter-figures: $(VENV)-starter/.installed
	cd weights/starter && $(abspath $(VENV)-starter)/bin/python -m recipe evaluate
