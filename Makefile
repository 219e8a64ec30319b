# Everything a person needs is here: `make` or `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help start dev build test check bench bench-quick test-fuzz test-crash test-start test-workers screenshots restic clean
.SUFFIXES:

BIN := node_modules/.bin
SOURCES := $(shell find server control-plane tenant-schema -path server/console -prune -o -name '*.ts' -print 2>/dev/null)
CONSOLE := server/console
API_TYPES := $(CONSOLE)/src/api/schema.gen.ts
CONSOLE_SOURCES := $(shell find $(CONSOLE) -name node_modules -prune -o -type f ! -name '*.gen.ts' -print 2>/dev/null)
TEST_FLAGS ?=
WORKERS_SPECS := limits revocation chat idempotency aborts quota export keys providers logs access admin-usage \
  lifecycle backups upload import audit admin-tokens conventions bad-input resources

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

start: dist/.built dist/.console ## Install and build what is missing, then serve until Ctrl-C (WORKERS=n: from n processes)
	@exec node --enable-source-maps dist/server/main.js

dev: node_modules/.installed ## Serve from the sources and restart at each change
	@exec $(BIN)/tsx watch --clear-screen=false server/main.ts

build: dist/.built dist/.console ## Compile the server and the console to dist/

test: check restic dist/.console ## Type-check, lint, run every test
	@NODE_ENV=test $(BIN)/mocha $(TEST_FLAGS) 'test/**/*.spec.ts'

check: node_modules/.installed $(API_TYPES) ## Type-check and lint only
	@$(BIN)/tsc -p .
	@$(BIN)/tsc -p $(CONSOLE)
	@$(BIN)/biome check .

test-crash: node_modules/.installed ## Kill the server 240 times, under load and during operations (half an hour; CRASH_SEED)
	@NODE_ENV=test CRASH_ROUNDS=40 $(BIN)/mocha test/crash/kill.spec.ts
	@NODE_ENV=test CRASH_ROUNDS=200 $(BIN)/mocha test/crash/operations.spec.ts

# Left out are two that reach into the server's own process in the middle of a request.
test-workers: node_modules/.installed ## Run the tests over HTTP against a server with two workers (some minutes)
	@NODE_ENV=test TEST_WORKERS=2 $(BIN)/mocha --timeout 60000 --invert --grep 'whose body was long on the way|while the loop is late' \
	  $(WORKERS_SPECS:%=test/server/http/%.spec.ts)

test-fuzz: node_modules/.installed ## Import thousands of damaged files (some minutes; FUZZ_CASES, FUZZ_SEED)
	@NODE_ENV=test FUZZ_CASES=$${FUZZ_CASES:-5000} $(BIN)/mocha 'test/fuzz/**/*.spec.ts'

test-start: node_modules/.installed ## Run "make start" in a fresh clone of the last commit
	@NODE_ENV=test $(BIN)/mocha --timeout 900000 test/fresh-clone/make-start.ts

screenshots: dist/.console ## Make the pictures of docs/img anew
	@NODE_ENV=test $(BIN)/mocha --timeout 600000 test/console/screenshots.ts

bench: dist/.built bench/node_modules/.installed ## Measure the goals of docs/performance.md (a quarter of an hour; BENCH_SCALE=0.1 for a short run)
	@node --import tsx bench/run.ts

# One scenario alone, at its full size, as in "make bench-stream".
bench-%: dist/.built bench/node_modules/.installed
	@node --import tsx bench/$*.ts

bench-quick: dist/.built bench/node_modules/.installed ## Measure a turn beside the same done by hand and Portkey (half a minute)
	@node --import tsx bench/turn.ts --quick

clean: ## Remove what was built and installed; never touches data/
	rm -rf dist node_modules bench/node_modules

# Tests take backups away with it and bring them back.
restic:
	@command -v restic >/dev/null || { command -v apt-get >/dev/null && \
	  { apt-get install -y restic || { apt-get update && apt-get install -y restic; }; }; } || \
	  { echo 'The tests need restic (https://restic.net); install it and run make test again.' >&2; exit 1; }

# Stamps make the second start quick. NODE_ENV=production would leave out the compiler, hence --include=dev.
node_modules/.installed: package.json package-lock.json
	npm ci --include=dev --no-audit --no-fund
	@touch $@

# Those we are compared with, which the server itself does not need. Their install scripts are not run.
bench/node_modules/.installed: bench/package.json bench/package-lock.json
	npm ci --prefix bench --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

dist/.built: node_modules/.installed tsconfig.json tsconfig.build.json $(SOURCES)
	@rm -rf dist/server dist/control-plane dist/tenant-schema
	$(BIN)/tsc -p tsconfig.build.json
	@touch $@

# The console's types of the API come from the endpoints, so that a change which it does not follow stops the build.
# The file is written only where the API has changed: the console is not built again for every other edit.
dist/.api-types: node_modules/.installed $(CONSOLE)/openapi/generate.ts $(SOURCES)
	@$(BIN)/tsx $(CONSOLE)/openapi/generate.ts
	@mkdir -p dist && touch $@

$(API_TYPES): dist/.api-types
	@test -f $@ || $(BIN)/tsx $(CONSOLE)/openapi/generate.ts

dist/.console: node_modules/.installed $(API_TYPES) $(CONSOLE_SOURCES)
	$(BIN)/tsc -p $(CONSOLE)
	@NODE_ENV=production $(BIN)/vite build --config $(CONSOLE)/vite.config.ts --logLevel warn
	@touch $@
