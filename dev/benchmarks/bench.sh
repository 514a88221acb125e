#!/usr/bin/env bash
# Copies a table once with Inlet and with other programs: `make bench`, or `dev/benchmarks/bench.sh HELP` for its options.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
dev/scripts/setup.sh --copy
[ -n "${INLET_BIN:-}" ] || cargo build --release -q --workspace --bins
cache=${INLET_CACHE:-$HOME/.cache/inlet}
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$PWD/dev/benchmarks:$cache/peers-copy:$cache/peers-compare exec python3 -m copies "$@"
