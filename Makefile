VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OF ?= robspec/lower
# Asks for attrs < 24 and pygls for attrs >= 24.3: put beside it by itself, it works with either, as the tests show.
ACCOUNTING := dp-accounting absl-py dm-tree wrapt

.PHONY: docs demo test test-deep mutants lint format bench results release-check sarif-check changelog clean

demo: $(STAMP)  ## prove the shipped example
	$(BIN)/robspec check specs/runway/runway.pt2 specs/runway/runway.rspec

test: $(STAMP)  ## the whole test suite, some 14 minutes on two quiet cores
	$(BIN)/pytest -n 2 --dist worksteal

test-deep: $(STAMP)  ## the property tests with 25 times the examples
	ROBSPEC_HYPOTHESIS=deep $(BIN)/pytest -n 2

mutants: $(STAMP)  ## change the code under OF (robspec/lower) in hundreds of ways; the tests should notice each
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutants]'
	$(BIN)/python -m tests.mutation $(OF)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## check equality, then time the kernels against the memory floor
	$(BIN)/python -m benchmarks.knapsack
	$(BIN)/python -m benchmarks.cells

docs: $(STAMP)  ## the documentation as a site under build/docs; a broken link is an error
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs build/docs
	@echo "build/docs/index.html"

results: $(STAMP)  ## train and measure the three models of the runway table
	$(BIN)/python specs/runway/results.py

release-check: $(STAMP)  ## build sdist and wheel, install each in an environment of its own, run the demo there
	rm -rf build/release
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	$(BIN)/python -m build --outdir build/release .
	for made in build/release/*.whl build/release/*.tar.gz; do \
	  rm -rf build/release/env && $(PYTHON) -m venv build/release/env && \
	  build/release/env/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch && \
	  build/release/env/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "$$made" && \
	  (cd specs && ../build/release/env/bin/robspec check runway/runway.pt2 runway/runway.rspec --output html=../build/release/demo.html) && \
	  build/release/env/bin/robspec compile specs/runway/runway.rspec >/dev/null && \
	  build/release/env/bin/robspec doctor || exit 1; \
	done

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps $(ACCOUNTING)
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info

sarif-check: $(STAMP)  ## give SARIF logs to the validator of the format's makers, which npm fetches
	mkdir -p build/sarif
	cd build/sarif && tar xzf "$$(npm pack --silent @microsoft/sarif-multitool-linux@5.7.0 | tail -1)" && chmod +x package/Sarif.Multitool
	ROBSPEC_SARIF=build/sarif/package/Sarif.Multitool $(BIN)/pytest -q tests/report/test_sarif_validator.py

changelog: $(STAMP)  ## gather docs/changes into CHANGELOG.md under VERSION
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[changelog]'
	$(BIN)/towncrier build --yes --version $(VERSION)
