#!/usr/bin/env bash
# The core suite on other major versions of PostgreSQL, or with WHOLE=1 every test: `dev/scripts/test-versions.sh [major ..]`.
#
# The core is what depends on the server: polling without loss, catalog, types, a whole way to the lake, and the comparison of every value.
# Prints the counts of each version; fails when a test did.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
core=(--test polling --test rows --test identity --test catalog --test verify --test services)
# Of the services what depends on the server: the acceptance procedure, types, kinds of tables and encodings.
core_filter=(--skip kills:: --skip mistakes:: --skip foreign:: --skip observe:: --skip load:: --skip patterns:: --skip names:: --skip control:: --skip aside:: --skip generations:: --skip values_of_100_mb --skip too_large)
# These servers come without pg_resetwal, which sets the xids for the test of their wrap; that runs with the system's PostgreSQL.
missing_tools=(--skip wrap::)

log=$(mktemp)
trap 'rm -f "$log"' EXIT
table=""
status=0
while read -r major bin; do
  if [ $# -gt 0 ] && [[ " $* " != *" $major "* ]]; then continue; fi
  if [ -n "${WHOLE:-}" ]; then what=(); filter=(); else what=("${core[@]}"); filter=("${core_filter[@]}"); fi
  echo "PostgreSQL $major: $("$bin/postgres" --version)"
  INLET_TEST_PG_BIN=$bin cargo test --release --workspace --no-fail-fast "${what[@]}" -- "${missing_tools[@]}" "${filter[@]}" >"$log" 2>&1 || status=1
  grep -E '^(test result|test .* FAILED)' "$log" || true
  counts=$(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/\1 \2/p' "$log" |
    awk '{ passed += $1; failed += $2 } END { printf "%d passed, %d failed", passed, failed }')
  [ "$counts" != "0 passed, 0 failed" ] || status=1
  # What failed is wanted whole.
  grep -q 'FAILED\|^error' "$log" && cat "$log"
  table+="PostgreSQL $major: $counts"$'\n'
done < <(dev/scripts/setup.sh --all-postgres)
printf '%s' "$table"
exit "$status"
