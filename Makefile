# `make` alone prints the list. Everything runs in .venv, which is made and filled when it is needed: with uv if that is
# on the PATH, else with pip. Settings come from the environment: `PORT=8001 OFFLINE=1 make run`.
PYTHON := .venv/bin/python
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo worker test check format bench fuzz docs lock installed installed-dev screenshots audit chaos \
  bench-probe bench-fingerprint

help: ## Print this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' Makefile | expand -t 24

run: installed ## Start everything on this machine
	@exec $(PYTHON) manage.py up

demo: installed ## Start everything with services to find on this machine; nothing leaves it
	@exec $(PYTHON) -m demo

worker: installed ## Start the workers alone, on a further host
	@exec $(PYTHON) manage.py worker

test: installed-dev ## Run the tests, on SQLite and then on Postgres; ARGS="-k name" chooses some, on SQLite
	@$(PYTHON) -m pytest -n 2 $(ARGS)
	@$(if $(ARGS),,$(PYTHON) tests/with_postgres.py -- $(PYTHON) -m pytest -n 2 --ignore=tests/core --ignore=tests/test_supervisor.py)

check: installed-dev ## Check lint, format, types, import rules, migrations and settings
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PYTHON) manage.py makemigrations --check --dry-run
	$(PYTHON) manage.py check

format: installed-dev ## Format the code and sort its imports
	.venv/bin/ruff check --select I --fix .
	.venv/bin/ruff format .

bench: installed ## Measure jobs through the real queue, on loopback. ARGS="--ground wan40" (root), "--sizes 1,100"
	@$(PYTHON) -m bench.jobs $(ARGS)

bench-probe: installed ## Measure the probe engine beside nmap and masscan, in network namespaces; needs root. ARGS="--rounds 5"
	@$(PYTHON) -m bench.probe $(ARGS)

bench-fingerprint: installed-dev ## Measure how services are named beside nmap -sV, real servers and namespaces; needs root
	@$(PYTHON) -m bench.fingerprint $(ARGS)

fuzz: installed-dev ## Send 10,000 requests made from the API's own schema, and check each reply against it
	@FUZZ_CASES=10000 $(PYTHON) -m pytest tests/api/test_schema_fuzz.py -q -s -o timeout=1800

chaos: installed-dev ## Kill, stop and cut off whatever there is, for an hour or two; figures to docs/reliability.md
	@figures=$$(mktemp); trap 'rm -f "$$figures"' EXIT; export CHAOS_FIGURES="$$figures"; \
	export KILLS=$${KILLS:-160} ROUNDS=$${ROUNDS:-20} STOPS=$${STOPS:-20} TERMS=$${TERMS:-50}; \
	export IMAGES=$${IMAGES:-200} LOAD_SECONDS=$${LOAD_SECONDS:-60}; \
	$(PYTHON) -m pytest -s tests/chaos tests/test_redis_broker.py; on_sqlite=$$?; \
	$(PYTHON) tests/with_postgres.py -- $(PYTHON) -m pytest -s tests/chaos tests/test_redis_broker.py; on_postgres=$$?; \
	$(PYTHON) -m tests.chaos.figures "$$figures" && exit $$((on_sqlite + on_postgres))

docs: installed ## Write the pages that are made from the sources and the rules
	@$(PYTHON) docs/generate.py

screenshots: installed-dev ## Take the pictures in docs/screenshots anew, of a demo of its own
	@$(PYTHON) -m demo.screenshots

audit: installed-dev ## Ask a vulnerability service about the locked requirements; needs the internet
	@.venv/bin/pip-audit --require-hashes --disable-pip -r requirements.txt

lock: installed-dev ## Write both requirements files anew, with exact versions and hashes
	.venv/bin/uv pip compile -q --generate-hashes --no-header -p $(PYTHON) requirements.in -o requirements.txt
	.venv/bin/uv pip compile -q --generate-hashes --no-header -p $(PYTHON) requirements-dev.in -o requirements-dev.txt

# --- .venv -----------------------------------------------------------------------------------------------------------
installed: $(PYTHON)
	@$(call install,requirements.txt)

installed-dev: $(PYTHON)
	@$(call install,requirements.txt)
	@$(call install,requirements-dev.txt)

# Debian's python3 comes without ensurepip, which venv needs unless uv does the installing.
$(PYTHON):
	@fail() { echo "$$1" >&2; exit 1; }; \
	[ "$$(uname -s)" = Linux ] || fail "This needs Linux: use a Linux machine, a container or WSL2."; \
	for found in python3 python3.14 python3.13 python3.12 python3.11 ""; do \
	  [ -z "$$found" ] || ! $$found -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || break; \
	done; \
	[ -n "$$found" ] || fail "Python 3.11 or newer is missing: apt install python3 python3-venv"; \
	if command -v uv >/dev/null; then module=venv; pip=--without-pip; else module=ensurepip; pip=; fi; \
	$$found -c "import $$module" 2>/dev/null || fail "Python's venv module is missing: apt install python3-venv"; \
	$$found -m venv --clear $$pip .venv >/dev/null || fail ".venv could not be made: is this directory writable?"

# $(call install,FILE): fill .venv from a locked file, unless that was done before with the very same content.
define install
cmp -s $(1) .venv/$(1) || { \
  echo "Installing $(1) into .venv: once, for a minute or less."; \
  if command -v uv >/dev/null; then uv pip install -q -p $(PYTHON) --require-hashes -r $(1); \
  else \
    $(PYTHON) -c 'import pip' 2>/dev/null || $(PYTHON) -m ensurepip; \
    PIP_DISABLE_PIP_VERSION_CHECK=1 $(PYTHON) -m pip install -q --retries 2 --require-hashes -r $(1); \
  fi >.venv/install.log 2>&1 && cp $(1) .venv/$(1) || { \
    echo "Not installed, .venv/install.log says why. If no package registry answers: check the network, or name a" \
      "mirror in PIP_INDEX_URL (UV_DEFAULT_INDEX for uv)." >&2; exit 1; }; }
endef
