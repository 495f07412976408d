# make quickstart   set up, compare three regularisers on digits, say where the page lies (three minutes)
# make test         set up, then lint, types, benchmark check and tests
# make test-long    attacks: kills, crowds, damaged files, 500 random inputs; benchmarks to their end (minutes)
# make test-peers   beside lightly, Lightning and stable-pretraining, in an environment of their own on top of .venv
# make docs         build the documentation site into site/, strictly: no warning, no broken link
# make bench        time the kernels side by side (two minutes)
# make speed-history  times of SIGReg since the first commit, by asv (half an hour; renews docs/speed.md)
# make setup        only prepare .venv
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
# Modules of this package are compiled once, not at each start of a process, wherever that is turned off.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup quickstart test test-long test-peers docs bench speed-history clean
setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sigreg-lab needs Python 3.11 or newer; $(PYTHON) is older. Name another with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip setuptools
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[vision,dev]'
	@touch $@

quickstart: setup
	$(BIN)/sigreg-lab compare sigreg-ep vicreg visreg --data digits --seeds 5 --tuning-seeds 2 --set steps=100 --workers $(WORKERS)
	@test -e embeddings.npy || $(BIN)/python -c "import numpy, sklearn.datasets; numpy.save('embeddings.npy', sklearn.datasets.load_digits().data)"

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/asv check --environment existing:$(BIN)/python
	$(BIN)/python -m pytest -n 2 --durations 60

test-long: setup
	$(BIN)/python -m pytest -n 2 -m long

# A path file lets the second environment see the first, so that torch is not installed twice.
.venv-peers/.ready: .venv/.ready peers.txt
	rm -rf .venv-peers
	$(PYTHON) -m venv .venv-peers
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' > "$$(.venv-peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth"
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r peers.txt
	@touch $@

test-peers: .venv-peers/.ready
	.venv-peers/bin/python -m pytest -n 0 -m peers

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: setup
	$(BIN)/python -m benchmarks.table

speed-history: setup
	$(BIN)/asv machine --yes
	$(BIN)/asv run --skip-existing --bench history.History HASHFILE:benchmarks/history_commits.txt
	$(BIN)/asv run --skip-existing --bench history.History HEAD^!
	$(BIN)/python -m benchmarks.history

clean:
	rm -rf .venv .venv-peers .asv site results/runs .pytest_cache .mypy_cache .ruff_cache
