# The README's two commands are `make run` and `make test`; each does all of its own set-up.
#
#   make run  [ARGS="--config FILE"]     start the server in the foreground
#   make test [PYTEST_ARGS="tests/http"] every test, two at a time; as root also installs the real peers they need
#   make lint                            linters and type checks alone
#   make bench [QUICK=1] [ONLY=get_1k]   hmacfs beside its rivals; as root also installs these
#   make micro [ONLY=head]               pure parts alone, and the instructions of a request
#   make instructions                    the instructions of a request, held against a bound
#   make clean                           everything that was built or installed here
#
# PYTHON=python3.12 picks another interpreter (3.11 or newer).

PYTHON ?= python3
ARGS ?=
PYTEST_ARGS ?=
QUICK ?=
ONLY ?=
BIN := .venv/bin
BUILT := .venv/.built

.PHONY: run test lint bench micro instructions clean

run: $(BUILT)
	@exec $(BIN)/hmacfs serve $(ARGS)

test: $(BUILT)
	@.ci/setup peers
	@$(BIN)/pytest --numprocesses 2 --dist worksteal --durations 25 --durations-min 5 $(PYTEST_ARGS)

lint: $(BUILT)
	@$(BIN)/pytest -q tests/arch/test_lint.py tests/arch/test_types.py tests/arch/test_rooms.py

bench: $(BUILT)
	@.ci/setup bench
	@$(BIN)/python -m benches.run $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

micro: $(BUILT)
	@.ci/setup bench
	@$(BIN)/python -m benches.micro $(if $(QUICK),--fast) $(if $(ONLY),--only $(ONLY))
	@$(BIN)/python -m benches.instructions

instructions: $(BUILT)
	@.ci/setup peers
	@$(BIN)/python -m benches.instructions

clean:
	rm -rf .venv build dist *.egg-info hmacfs/_*.c hmacfs/_*.html hmacfs/_*.so
	rm -rf tests/e2e/js/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find hmacfs tests benches tools -name __pycache__ -type d -prune -exec rm -rf {} +

# Only these decide what is compiled and installed; Python files are used where they lie.
$(BUILT): pyproject.toml setup.py $(wildcard hmacfs/*.pyx hmacfs/*.pxd)
	@PYTHON="$(PYTHON)" .ci/setup build
	@touch $@
