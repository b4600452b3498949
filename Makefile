# `make demo` and `make test` set up all they need in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo lock test test-faults test-slow test-ui test-importers test-importers-fast clean

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e '.[demo,test]'
	touch $@

demo: .venv/.installed
	$(BIN)/m2n2 demo --to demo

test: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder

# Real processes of real clusters are killed and cut off; each test takes most of a minute, so they are not in `test`.
test-faults: .venv/.installed
	$(BIN)/python -m pytest -m "faults and not slow" -n 2 --dist loadfile

test-slow: .venv/.installed
	$(BIN)/python -m pytest -m slow

# The page of `m2n2 ui` in a browser: Debian's chromium where it is installed, else Playwright's own.
test-ui: .venv/.installed
	$(BIN)/python -m pip install --quiet -e '.[test-ui]'
	command -v chromium >/dev/null || $(BIN)/python -m playwright install --with-deps chromium
	$(BIN)/python -m pytest -m browser tests/browser

# Other tools' importers, each in an environment of its own below .importers/; writes the table of docs/exports.md.
test-importers: .venv/.installed
	$(BIN)/python -m tests.importers.compare

# Those of them that are set up and read within five minutes, as CI does.
test-importers-fast: .venv/.installed
	$(BIN)/python -m tests.importers.compare --fast

# What a cluster's nodes install: the requirements in the versions that the tests ran with, where they have them, with
# digests, as the package index has them for Linux. torch brings its own triton, another one than on a CPU.
PINNED = $(shell sed -n '/tool.m2n2.cluster/,/^$$/s/^$(1) = "\(.*\)"/\1/p' pyproject.toml)
lock: .venv/.installed
	$(BIN)/python -m pip install --quiet uv==$(call PINNED,uv)
	$(BIN)/python -m pip freeze --exclude-editable | sed -n '/^triton==/d; s/+cpu$$//; /==/p' > .venv/tested.txt
	$(BIN)/uv pip compile pyproject.toml --extra aws --extra heif --extra report --constraint .venv/tested.txt \
		--python-version $(call PINNED,python) --python-platform x86_64-manylinux_2_28 --only-binary :all: \
		--generate-hashes --no-annotate --custom-compile-command "make lock" --no-config --quiet \
		--upgrade --output-file requirements.lock

clean:
	rm -rf .venv .importers demo
