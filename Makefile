.PHONY: setup check audit test bench soak serve

setup:
	sh .ci/setup test check

check:
	sh .ci/setup check
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

audit:
	sh .ci/setup check
	.venv/bin/python .ci/audit

test:
	sh .ci/setup test
	.venv/bin/python -m pytest -n 3

bench:
	sh .ci/setup
	.venv/bin/python benchmarks/run.py

soak:
	sh .ci/setup
	.venv/bin/python benchmarks/run.py --only soak

serve:
	sh .ci/setup
	.venv/bin/python -m ticker --feed simulated
