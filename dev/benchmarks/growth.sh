#!/usr/bin/env bash
# Measures what grows with the data: `make growth`, or `dev/benchmarks/growth.sh HELP` for its options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
dev/scripts/setup.sh --compare
[ -n "${INLET_BIN:-}" ] || cargo build --release -q --workspace --bins --example years
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$PWD/dev/benchmarks:${INLET_CACHE:-$HOME/.cache/inlet}/peers-compare exec python3 -m growth "$@"
