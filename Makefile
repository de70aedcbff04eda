# The README's two commands are `make run` and `make test`; each does all of its own set-up.
#
#   make run  [ARGS="--config FILE"]     start the server in the foreground
#   make test [PYTEST_ARGS="tests/http"] every test; as root also installs the real peers they need
#   make lint                            linters and type checks alone
#   make bench                           every bench in benches/
#   make clean                           everything that was built or installed here
#
# PYTHON=python3.12 picks another interpreter (3.11 or newer).

PYTHON ?= python3
ARGS ?=
PYTEST_ARGS ?=
BIN := .venv/bin
BUILT := .venv/.built

.PHONY: run test lint bench clean

run: $(BUILT)
	@exec $(BIN)/hmacfs serve $(ARGS)

test: $(BUILT)
	@.ci/setup peers
	@$(BIN)/pytest $(PYTEST_ARGS)

lint: $(BUILT)
	@$(BIN)/pytest -q tests/arch/test_lint.py tests/arch/test_types.py tests/arch/test_rooms.py

bench: $(BUILT)
	@for bench in $(filter-out benches/_%,$(wildcard benches/*.py)); do \
		echo "== $$bench"; $(BIN)/python "$$bench" || exit 1; \
	done

clean:
	rm -rf .venv build dist *.egg-info hmacfs/_core.c hmacfs/_core.html hmacfs/_core*.so
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find hmacfs tests benches -name __pycache__ -type d -prune -exec rm -rf {} +

# Only these four decide what is compiled and installed; Python files are used where they lie.
$(BUILT): pyproject.toml setup.py hmacfs/_core.pyx $(wildcard hmacfs/_core.pxd)
	@PYTHON="$(PYTHON)" .ci/setup build
	@touch $@
