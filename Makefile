# make serve   set everything up and serve ./data on [::]:8080
# make install set up .venv with the command line, and nothing else
# make test    set everything up and run every check and test
# make bench   set everything up and measure against the peers that are installed;
#              options: make bench BENCH=--help
# make fuzz    set everything up and try a million odd inputs on every parser;
#              options: make fuzz FUZZ=--help
# make soak    set everything up and let 16 clients work for ten minutes on a store that fails now and then;
#              options: make soak SOAK='--on ceph --minutes 1', or SOAK=--help
# make kill    set everything up and kill the busy server 200 times; options: make kill KILL='--on ceph'
# make format  let ruff format and mend what it can

SHELL := /bin/sh
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin

.PHONY: serve install test bench fuzz soak kill format clean

serve: .venv/serve.stamp
	@exec $(BIN)/zotshelf serve

install: .venv/serve.stamp

test: .venv/test.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses=2 --dist=loadfile

bench: .venv/test.stamp
	@exec $(BIN)/python -m scripts.bench $(BENCH)

fuzz: .venv/test.stamp
	@exec $(BIN)/python -m scripts.fuzz $(FUZZ)

soak: .venv/test.stamp
	@exec $(BIN)/python -m scripts.soak faults $(SOAK)

kill: .venv/test.stamp
	@exec $(BIN)/python -m scripts.soak kill $(KILL)

format: .venv/test.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BIN)/python:
	@scripts/make_venv "$(PYTHON)" .venv

.venv/serve.stamp: pyproject.toml | $(BIN)/python
	@echo 'Installing what zotshelf needs into .venv ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/test.stamp: pyproject.toml | $(BIN)/python
	@echo 'Installing what the tests need into .venv ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

clean:
	rm -rf .venv build *.egg-info
