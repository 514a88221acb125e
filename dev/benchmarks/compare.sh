#!/usr/bin/env bash
# Compares Inlet, Debezium and Spark on this machine: `make compare`, or `dev/benchmarks/compare.sh HELP` for its options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
dev/scripts/setup.sh --compare
[ -n "${INLET_BIN:-}" ] || cargo build --release -q --workspace --bins
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$PWD/dev/benchmarks:${INLET_CACHE:-$HOME/.cache/inlet}/peers-compare exec python3 -m compare "$@"
