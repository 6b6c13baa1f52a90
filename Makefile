# Building, testing and showing oxrun. Everything that makes containers needs root.
# On a fresh Debian 12 with Rust, missing packages are installed by apt-get (as root).

# The binary is made for musl, which starts faster and is smaller. What builds it brings that target where
# rustup can; without it, it is made for the C library of the machine. Tests are built for the latter.
MACHINE := $(shell uname -m)
GNU     := $(MACHINE)-unknown-linux-gnu
MUSL    := $(MACHINE)-unknown-linux-musl
ifneq ($(filter-out help clean uninstall lint docs pages errors test test-security deny,$(or $(MAKECMDGOALS),build)),)
ifeq ($(wildcard $(shell rustc --print target-libdir --target $(MUSL))/libstd-*),)
$(shell timeout 120 rustup target add $(MUSL) >/dev/null 2>&1)
endif
endif
TARGET  ?= $(if $(wildcard $(shell rustc --print target-libdir --target $(MUSL))/libstd-*),$(MUSL),$(GNU))
PREFIX  ?= /usr/local
BINARY  := target/$(TARGET)/release/oxrun
DIST    := build/dist
DIST_PARTS := dist-tarball dist-deb
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
# A linker and the static C library to build; busybox is the root filesystem of demo and tests.
BUILD_PACKAGES := gcc libc6-dev
TEST_PACKAGES  := $(BUILD_PACKAGES) busybox-static libseccomp2 python3

.PHONY: all build demo test fault test-security test-v2 test-criu soak bench lint errors pages docs conformance integration integration-v2 integration-criu deny dist dist-tarball dist-deb dist-check install uninstall clean help

all: build

help:
	@echo 'make build        the release binary: $(BINARY)'
	@echo 'make demo         build it and run a container that shows itself (root)'
	@echo 'make test         build and run all tests (root)'
	@echo 'make test-security  what docs/security.md names, with its counts (root)'
	@echo 'make test-v2      the tests in a virtual machine with systemd and cgroup v2 alone'
	@echo 'make test-criu    checkpoint and restore in a virtual machine whose CRIU works'
	@echo 'make soak         1,000 containers in a row and 200 by eight, the host compared (root)'
	@echo 'make fault        every system call fails once; counts into docs/security.md (root)'
	@echo 'make bench [PEERS="crun runc"] [QUICK=1] [SCENARIO="run exec"]   oxrun and others side by side (root)'
	@echo 'make lint         formatting and clippy, warnings denied, and `make deny`'
	@echo 'make deny         licences, sources and versions of all crates'
	@echo 'make pages        man pages, completions and docs/errors.md anew, from the source'
	@echo 'make docs         fails when one of these is stale, or a link in the documents'
	@echo 'make dist         $(DIST): a tarball, a Debian package, the SBOM, and checksums'
	@echo 'make dist-check   makes the archives twice and compares them'
	@echo 'make errors       which errors of the source no test has seen (root)'
	@echo 'make conformance SUITE=DIR   a built validation suite against the binary (root)'
	@echo 'make integration [ENGINES="ctr docker"]   real engines on top of the binary, or of RUNTIME=… (root)'
	@echo 'make integration-v2 [ENGINES="cri"]   engines with systemd cgroups in a virtual machine'
	@echo 'make integration-criu   engines checkpoint and restore in the virtual machine of test-criu'
	@echo 'make install      binary, man pages and completions to $$(DESTDIR)$$(PREFIX); make uninstall takes them away'

build:
	@tools/packages $(BUILD_PACKAGES)
	OXRUN_COMMIT=$(COMMIT) cargo build --release --locked --target $(TARGET)

demo: build
	@tools/packages busybox-static
	@tools/demo $(BINARY)

test:
	@tools/packages $(TEST_PACKAGES)
	cargo test --no-fail-fast --target $(GNU)

test-security:
	@tools/packages $(TEST_PACKAGES)
	@tools/test-security $(GNU)

test-v2:
	@tools/packages $(BUILD_PACKAGES)
	@tools/test-v2 all

test-criu:
	@tools/packages $(BUILD_PACKAGES)
	@tools/test-criu

soak: build
	@tools/packages $(TEST_PACKAGES)
	cargo build --target $(GNU) --example payload
	RUNTIME=$(CURDIR)/$(BINARY) cargo test --target $(GNU) --test container -- --ignored soak::

# Never fails a build: what cannot be measured is missing in the table. docs/benchmarks.md is written
# by a whole run alone.
PEERS ?= crun runc
bench: build
	@tools/packages gcc libc6-dev $(filter crun runc,$(PEERS)) || true
	cargo build --release --target $(GNU) -p oxrun-benches --bin bench
	cargo build --release --target $(TARGET) -p oxrun-benches --bin floor
	-target/$(GNU)/release/bench --oxrun $(BINARY) --floor target/$(TARGET)/release/floor --peers "$(PEERS)" \
		--docs docs --commit $(COMMIT) $(if $(QUICK),--quick) $(SCENARIO)

# Every system call of every command fails once, and the runtime is killed at each; rewrites the counts in
# docs/security.md. FAULT=N: one in N.
fault: build
	@tools/packages $(TEST_PACKAGES)
	cargo build --target $(GNU) --example payload
	RUNTIME=$(CURDIR)/$(BINARY) FAULT=$(or $(FAULT),all) tools/fault

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --target $(GNU) -- -D warnings
	tools/dependencies check

# Licences, sources, versions and the tables of docs/dependencies.md.
deny:
	tools/dependencies check

# What is handed out: each part is a target of its own that puts its file into $(DIST); the checksums
# of all come last.
dist: $(DIST_PARTS)
	cd $(DIST) && rm -f SHA256SUMS && sha256sum * >SHA256SUMS && cat SHA256SUMS

dist-tarball: build deny
	tools/dist $(BINARY) $(TARGET) $(DIST)

dist-deb: build deny
	tools/deb $(BINARY) $(TARGET) $(DIST)

# The second time in another time zone, with another file mode mask and a second later.
dist-check: build
	rm -rf build/dist-check
	umask 022; for make in dist deb; do tools/$$make $(BINARY) $(TARGET) build/dist-check/1 || exit 1; done
	sleep 1.1
	umask 077; for make in dist deb; do TZ=UTC-3 tools/$$make $(BINARY) $(TARGET) build/dist-check/2 || exit 1; done
	diff -r build/dist-check/1 build/dist-check/2 && rm -r build/dist-check

# Which errors of the source no test has seen; every error that a test run meets leaves its line.
errors:
	@tools/packages $(TEST_PACKAGES)
	TARGET=$(GNU) tools/errors

# What is made from the source: man pages, completions, the list of errors.
pages:
	cargo run --quiet --target $(GNU) --example pages
	OXRUN_WRITE_DOCS=1 cargo test --quiet --target $(GNU) --lib the_page_is_up_to_date -- --ignored

docs:
	tools/check-docs
	cargo test --quiet --target $(GNU) --test pages
	cargo test --quiet --target $(GNU) --lib the_page_is_up_to_date -- --ignored

conformance: build
	@test -n "$(SUITE)" || { echo 'make conformance SUITE=DIR: the directory of a built suite is missing' >&2; exit 1; }
	tools/conformance "$(SUITE)" $(CURDIR)/$(BINARY)

# The engines' packages are installed by the script; RUNTIME=… takes another runtime through it.
integration: $(if $(RUNTIME),,build)
	RUNTIME=$(or $(RUNTIME),$(CURDIR)/$(BINARY)) integration/run $(ENGINES)

# Checkpoint and restore by the engines, in the machine of test-criu.
integration-criu:
	@tools/packages $(BUILD_PACKAGES)
	@tools/test-criu engines

integration-v2:
	@tools/packages $(BUILD_PACKAGES)
	@tools/test-v2 integration $(ENGINES)

install: build
	tools/install $(BINARY) '$(DESTDIR)' '$(PREFIX)'

# What tools/install has put there, under each name that it may have.
uninstall:
	cd '$(DESTDIR)$(PREFIX)' && rm -f sbin/oxrun sbin/oxrun-register share/man/man8/oxrun.8 share/man/man8/oxrun-*.8 \
		share/bash-completion/completions/oxrun share/zsh/site-functions/_oxrun share/zsh/vendor-completions/_oxrun \
		share/fish/vendor_completions.d/oxrun.fish

clean:
	cargo clean
	rm -rf demo
