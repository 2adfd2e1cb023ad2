# Morgana's commands. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin
# An older Go fetches the one that go.mod asks for; Debian's does not by itself.
export GOTOOLCHAIN ?= auto
# Programs run in guests that have nothing else.
export CGO_ENABLED := 0
GO ?= go
STUBDOMS := $(notdir $(patsubst %/,%,$(wildcard stubdoms/*/)))
SYSTEM := ./tests/system/...
# Tests on real Xen that make soak runs, so that make test ends in time.
LONG := ^(TestXenstoredOnXen|TestBlockFrontendSaved|TestBlockFrontendLives)$$
# Tests against lvm2, a kernel's device-mapper, NBD's own tools, the xenstore and console daemons of others, a browser.
LVM := ./tests/lvm/...
PEERS := ./tests/xenstore/... ./tests/console/... ./tests/page
QUICK = $(shell $(GO) list ./... | grep -v -e /tests/system -e /tests/gostd -e /tests/lvm -e /tests/xenstore -e /tests/console -e /tests/page)
FUZZTIME ?= 5s
BENCHRUNS ?= 3
SOAK ?= 30m
BENCHTIME ?= 100ms
# Where benchmarks keep their tables.
bench%: export REPORTS = $(CURDIR)/build/reports

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup:
	@./.ci/setup

.PHONY: setup-tests
setup-tests:
	@./.ci/setup tests

.PHONY: run
run: $(if $(filter sim,$(WHAT)),stubdom-only,crashtest) ## Morgana's domains on this Xen host, or on one booted in QEMU, serve a stock guest; WHAT=sim: all in one process, HTTP=ADDRESS: with a page
	@./build/stubdom host $(if $(filter sim,$(WHAT)),--sim) $(if $(HTTP),--http $(HTTP))

# The xenstore domain whose program can be told to die.
.PHONY: crashtest
crashtest: stubdoms
	@mkdir -p build/stubdoms/crashtest
	@GOFLAGS=-tags=crashtest ./build/stubdom build ./stubdoms/xenstore -o build/stubdoms/crashtest/xenstore.elf

.PHONY: stubdom-only
stubdom-only:
	@mkdir -p build
	@$(GO) build -o build/ ./cmd/stubdom

.PHONY: build
build: setup ## build the programs into build/
	@mkdir -p build
	$(GO) build -o build/ ./cmd/...

.PHONY: stubdoms
stubdoms: build ## build every unikernel of stubdoms/ into build/stubdoms/NAME.elf
	@mkdir -p build/stubdoms
	@for s in $(STUBDOMS); do ./build/stubdom build ./stubdoms/$$s -o build/stubdoms/$$s.elf; done
	@cp stubdoms/xenstore/start-xenstore-domain build/stubdoms/

.PHONY: kernel
kernel: ## build the unikernel's kernel anew and embed it
	$(GO) generate ./unikernel/image

.PHONY: xenhost
xenhost: build ## a shell in the dom0 of an emulated Xen host; exit leaves
	@./build/xenhost

.PHONY: fresh
fresh: ## make run on a fresh Debian 12 in a chroot
	./tests/fresh/run make run

.PHONY: test
test: setup-tests stubdoms ## every test, those against real Xen too
	@rm -rf build/reports
	$(GO) vet ./...
	$(GO) test -timeout 20m $(QUICK)
	$(GO) test -count=1 -p 2 -timeout 20m $(LVM)
	$(GO) test -count=1 -p 1 -timeout 20m $(PEERS)
	$(GO) test -count=1 -p 1 -timeout 45m -skip '$(LONG)' ./tests/gostd $(SYSTEM)
	@cat build/reports/*.txt

.PHONY: soak
soak: setup ## half an hour of everything at once on real Xen, disks for longer, then long walks beside lvm2 (SOAK=$(SOAK))
	SOAK=$(SOAK) $(GO) test -count=1 -v -timeout 0 -run 'TestSoak|TestStorage|TestBlock|TestXenstored|TestConsoles' ./tests/system
	SOAK=$(SOAK) $(GO) test -count=1 -v -p 1 -timeout 0 ./tests/lvm ./tests/lvm/extents ./tests/lvm/store

.PHONY: test-short
test-short: setup ## the tests of the inner loop, under a minute
	$(GO) test -short $(QUICK)

.PHONY: lint
lint: ## gofumpt, go vet, staticcheck
	@out=$$($(GO) tool -modfile=tools/go.mod gofumpt -l .); test -z "$$out" || { echo "gofumpt: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...

PARTS ?= unikernel lvm xenstore console blk
.PHONY: bench
bench: stubdoms ## every part beside its peer, half an hour, and one table of all (PARTS="$(PARTS)"); fails where a goal is missed
	@rm -rf build/reports/ratios; status=0; \
	for p in $(PARTS); do $(MAKE) --no-print-directory bench-$$p || status=1; done; \
	$(GO) run ./tests/ratios/table build/reports/ratios; exit $$status

.PHONY: bench-unikernel
bench-unikernel: stubdoms ## a unikernel beside a Linux guest in one boot of a Xen host
	./build/stubdom bench --runs $(BENCHRUNS) build/stubdoms/hello.elf

.PHONY: bench-go
bench-go: setup ## Go's benchmarks
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) $(QUICK)

.PHONY: bench-xenstore
bench-xenstore: setup ## our xenstore daemon beside xenstored (C) and oxenstored (OCaml), about two minutes
	$(GO) run ./tests/xenstore/xsbench
	$(GO) test -count=1 -timeout 40m -run '^$$' -bench XenstoreDomain -benchtime 1x ./tests/system

.PHONY: bench-console
bench-console: setup ## our console daemon beside Xen's xenconsoled, half a minute
	$(GO) run ./tests/console/conbench

.PHONY: bench-lvm
bench-lvm: setup ## mlvm beside lvm2 at 1 to 10 000 logical volumes: time, CPU, bytes; fails where a goal is missed
	@mkdir -p build/reports
	$(GO) test -count=1 -v -timeout 60m ./tests/lvm/bench -full

.PHONY: bench-blk
bench-blk: setup ## a guest's disk by Linux's backend, by ours as a process and by the storage domain, with fio; about ten minutes
	$(GO) run ./tests/blkbench
	$(GO) test -count=1 -timeout 40m -run '^$$' -bench BlockBackend -benchtime 1x ./tests/system

.PHONY: cover
cover: ## test coverage of the quick tests
	@mkdir -p build
	$(GO) test -short -coverprofile=build/cover.out $(QUICK)
	$(GO) tool cover -func=build/cover.out | tail -1

.PHONY: fuzz-short
fuzz-short: ## every fuzz target for $(FUZZTIME)
	@for p in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
			$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$p; \
		done; \
	done
