# For a new machine (Debian 12, root): `make pvp`, `make suites`, `make test`.
PYTEST = .venv/bin/pytest

.PHONY: help setup pvp suites compare test test-vlab test-moves test-dpdks lint lock clean

help:
	@echo "make pvp    install what is missing, certify a PVP on this machine (--quick)"
	@echo "make suites install what is missing, certify every topology, one after the other (--quick)"
	@echo "make compare  DPDK 24.11, which it downloads, against this machine's: host and guest side"
	@echo "make test   install what is missing, run the project's tests"
	@echo "make test-vlab  its tests on an emulated machine, too: labs, tuning, power cuts"
	@echo "make test-moves  its tests of more live migrations"
	@echo "make test-dpdks  its tests with DPDK 20.11 and 24.11, which it downloads"
	@echo "make lint   ruff and mypy --strict"
	@echo "make lock   pin the development dependencies anew (ci/requirements.txt)"
	@echo "make clean  remove .venv and caches; reports stay"

setup:
	@ci/setup

pvp: setup
	$(PYTEST) suites/pvp --dut local --quick

suites:
	@ci/setup $$(grep -hv '^#' ci/suite-packages)
	@ci/suites

compare:
	@ci/setup $$(grep -hv '^#' ci/suite-packages)
	@ci/compare

test:
	@ci/setup $$(grep -hv '^#' ci/suite-packages ci/test-packages)
	$(PYTEST)

test-vlab:
	@ci/setup $$(grep -hv '^#' ci/suite-packages ci/test-packages)
	$(PYTEST) -m vlab tests/vlab tests/system

test-moves:
	@ci/setup $$(grep -hv '^#' ci/suite-packages ci/test-packages)
	$(PYTEST) -m moves tests/system/test_live_migration.py

test-dpdks:
	@ci/setup $$(grep -hv '^#' ci/suite-packages ci/test-packages)
	@for release in bullseye trixie; do \
		test -d /var/cache/pytest-vswitch/dpdk/$$release || .venv/bin/vswitch dpdk add $$release || exit; \
	done
	$(PYTEST) -m 'dpdks or not dpdks' tests/system/test_dpdk_versions.py

lint: setup
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

lock: setup
	.venv/bin/pip-compile --quiet --strip-extras --generate-hashes --allow-unsafe \
		--no-emit-index-url --no-emit-find-links --no-header --upgrade --all-build-deps \
		--extra dev --output-file ci/requirements.txt pyproject.toml
	echo 'labgrid>=26,<27' | .venv/bin/pip-compile --quiet --strip-extras --generate-hashes \
		--allow-unsafe --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
		--upgrade --output-file ci/labgrid-requirements.txt -

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache dist
