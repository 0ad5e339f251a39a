# What there is to do here:
#   make build     compile everything
#   make test      install what the tests need, build, run all tests; last line: N passed, N failed, N skipped
#   make soak      the model, then faults at random (SOAK_SECONDS each, one hour by default), each kill at each load, the largest sizes
#   make bench     the tables of docs/performance.md
#   make install   program and command below PREFIX (/usr/local)
#   make clean     remove everything that was built

SHELL := /bin/bash
PREFIX ?= /usr/local
DESTDIR ?=
SOAK_SECONDS ?= 3600

.PHONY: all build test soak bench install clean help

all: build

help:
	@sed -n 's/^#  *//p' Makefile

build:
	./ephemeralfs version
	dotnet build EphemeralFs.sln -c Release -m:1 -v q --nologo

test:
	@tests/run.sh

soak:
	@EPHEMERALFS_SOAK_SECONDS=$(SOAK_SECONDS) tests/run.sh --soak

bench:
	@bench/run artifacts/bench-results
	@bench/publish | tee artifacts/bench-results/publish.md

install:
	./ephemeralfs version
	install -d $(DESTDIR)$(PREFIX)/lib/ephemeralfs $(DESTDIR)$(PREFIX)/bin
	cp -R artifacts/launcher/$$(cat artifacts/launcher/current)/. $(DESTDIR)$(PREFIX)/lib/ephemeralfs/
	ln -sfn ../lib/ephemeralfs/ephemeralfs $(DESTDIR)$(PREFIX)/bin/ephemeralfs

clean:
	rm -rf artifacts
