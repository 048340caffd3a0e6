# The way in: `make` builds Boardcast with its page and starts it.
#
#   make run     the same; pass options on: make run ARGS="--interval 100ms"
#   make page    bundle the page alone; afterwards cargo does the rest by itself
#   make check   format, lints, documentation: seconds
#   make test    every test, with other people's clients and a browser
#   make bench   what it costs, as tables (docs/performance.md); Node's ws beside it
#   make stress  the long forms of the strain tests, minutes
#   make soak    everything at once, for long: make soak MINUTES=30 (docs/soak.md)
#   make fuzz    one way in with anything at all: TARGET=head MINUTES=30 (fuzz/README.md)
#   make deploy  build for a board, install there, start: make deploy HOST=pi@raspberrypi.local
#   make undeploy  take it off again: HOST=…
#   make deb     a Debian package; make tarball: the same for other systems; for a board: TARGET=…
#   make test-packages  the package in a Debian with its own systemd; root, minutes
#   make test-deploy    deploying, over ssh, to such a Debian; root, minutes
#   make conformance   the Autobahn testsuite, both ways; ARGS=quick: its short form (docs/conformance.md)
#   make setup   install what the tests need (run and test do so by themselves)
#
# For a board (cross/README.md says which TARGET):
#
#   make cross TARGET=…         a static binary, with Debian's compiler; FEATURES=tls: one that speaks TLS
#   make cross-docker TARGET=…  with `cross` and Docker or Podman instead
#   make test-arm               others' clients against each static binary, ARM's emulated; every test on ARMv6, ALL=1: on each
#   make sizes                  what each binary weighs, and why

.DEFAULT_GOAL := run
.DELETE_ON_ERROR:
.NOTPARALLEL:

CARGO ?= cargo
ARGS ?=
# What is built beside the page: FEATURES=tls.
FEATURES ?=
features = $(if $(FEATURES),--features "$(FEATURES)")

target := $(abspath $(or $(CARGO_TARGET_DIR),target))
web := src/web
# What build.mjs writes last.
page := $(web)/dist/licenses.txt
client := clients/js
page_sources := $(wildcard $(addprefix $(web)/,*.ts *.css *.html *.svg build.mjs package.json package-lock.json tsconfig.json)) \
	$(wildcard $(addprefix $(client)/,src/*.ts tsconfig.json))

.PHONY: run page check test bench stress soak fuzz conformance cross cross-docker test-arm sizes deploy undeploy \
	deb tarball test-packages test-deploy setup setup-node

run: page
	$(CARGO) run --release $(features) --bin boardcast -- $(ARGS)

page: setup-node $(page)

$(page): $(page_sources) | $(web)/node_modules/.bundler
	cd $(web) && node build.mjs
	@touch $@

# Without, and with, what only the page's own tests need. `npm ci` empties the folder, stamps included.
$(web)/node_modules/.bundler: $(web)/package-lock.json $(web)/.npmrc
	cd $(web) && npm ci --omit=dev --no-fund --no-audit
	@touch $@

$(web)/node_modules/.all: $(web)/package-lock.json $(web)/.npmrc
	cd $(web) && npm ci --no-fund --no-audit
	@touch $@ $(@D)/.bundler

$(client)/node_modules/.all: $(client)/package-lock.json $(client)/.npmrc
	cd $(client) && npm ci --no-fund --no-audit
	@touch $@

check: page
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --all-features -- -D warnings
	$(CARGO) clippy --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --no-deps --document-private-items --all-features

test: setup $(client)/node_modules/.all $(web)/node_modules/.all page
	cd $(client) && npm run --silent check && npm test --silent
	cd $(web) && npm run --silent check && npm test --silent
	$(CARGO) test --all-features
	$(CARGO) check --all-targets --no-default-features
	$(CARGO) build --bins --examples --features tls
	cd tests/peers && BOARDCAST=$(target)/debug/boardcast timeout --kill-after=10 1200 npm test --silent

bench: setup page
	$(CARGO) bench --bench steps
	$(CARGO) bench --bench fanout -- ws prototype floor $(ARGS)

stress: page
	$(CARGO) test --release --features tls,mqtt,mdns --test it stress:: -- --ignored --nocapture --test-threads=1

soak: page
	MINUTES="$(or $(MINUTES),30)" PLOT="$(abspath $(or $(PLOT),$(target)/soak.svg))" \
		$(CARGO) test --profile soak --test it soak:: -- --ignored --nocapture

cross:
	@tests/setup.sh cross
	@$(MAKE) --no-print-directory page
	cross/cargo.sh "$(TARGET)" build --release $(features)
	@ls -l $(target)/$(TARGET)/release/boardcast

# The images have no Node: the page is bundled before.
cross-docker: page
	CROSS_CONFIG=cross/Cross.toml cross build --release --target "$(TARGET)"

test-arm: setup page
	@tests/setup.sh arm
	cross/test.sh

sizes: page
	@tests/setup.sh cross
	cross/sizes.sh

# The program that a package holds: for a board, cross-built; else this machine's own. It speaks TLS and MQTT.
comma := ,
packaged = $(if $(TARGET),$(MAKE) cross TARGET=$(TARGET) FEATURES=tls$(comma)mqtt$(comma)mdns,$(CARGO) build --release --locked --features tls$(comma)mqtt$(comma)mdns)

deb tarball: page
	$(packaged)
	cross/package/package.sh $@ $(TARGET)

deploy undeploy:
	@MAKE="$(MAKE)" TARGET="$(TARGET)" cross/deploy.sh $@ "$(HOST)"

# For a board's package, TARGET=…: in a Debian of that architecture, emulated.
test-packages: page
	cross/package/$(if $(TARGET),test-foreign.sh $(TARGET),test-packages.sh)

test-deploy: page
	cross/package/test-deploy.sh

fuzz:
	fuzz/run.sh "$(TARGET)" $(MINUTES)

conformance: page
	tests/conformance/run.py $(ARGS)

setup:
	@tests/setup.sh all

setup-node:
	@tests/setup.sh node
