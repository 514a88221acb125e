#!/usr/bin/env bash
# What the triggers of `capture` cost the writers: `dev/benchmarks/capture.sh INLET URL [rows]`.
#
# URL names an empty database, in which the role may create tables. Each level inserts, updates and deletes the same rows in one
# statement each, and updates single rows; the levels take turns, and the median of five rounds counts.
set -euo pipefail
inlet=$1 url=$2 rows=${3:-200000} rounds=5
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
run() { psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$url" "$@"; }

run -c "CREATE TABLE capture_cost (id bigint PRIMARY KEY, customer text, restaurant text, item text, amount numeric(10,2),
  status text, created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now())"
cat >"$work/load.sql" <<SQL
\timing on
INSERT INTO capture_cost SELECT i, 'Customer ' || i, 'Restaurant ' || i % 100, 'Item ' || i % 1000, i % 1000, 'PLACED' FROM generate_series(1, $rows) i;
UPDATE capture_cost SET status = 'PREPARING', updated_at = now();
DO \$\$ BEGIN FOR i IN 1..5000 LOOP UPDATE capture_cost SET status = 'DELIVERED' WHERE id = i; END LOOP; END \$\$;
DELETE FROM capture_cost;
SQL
config() {
  printf 'postgres: { url: "%s" }\ndatalake: { path: %s }\ntables: { capture_cost: { capture: %s, journal_max: 100GiB } }\n' \
    "$url" "$work/lake" "$1" >"$work/$1.yml"
}
for _ in $(seq "$rounds"); do
  for level in none keys audit; do
    config "$level"
    [ "$level" = none ] || "$inlet" capture install --config "$work/$level.yml" --yes >"$work/ddl"
    run -f "$work/load.sql" | sed -n 's/^Time: \([0-9.]*\).*/\1/p' | paste -sd' ' >>"$work/$level"
    [ "$level" = none ] || "$inlet" capture remove --config "$work/$level.yml" --yes --discard >"$work/ddl"
    run -c "VACUUM capture_cost"
  done
done
run -c "DROP TABLE capture_cost"

median() { awk -v column="$2" '{ print $column }' "$work/$1" | sort -n | sed -n "$(((rounds + 1) / 2))p"; }
printf '| rows a second | none | keys | audit |\n|---|---:|---:|---:|\n'
column=0
for what in "INSERT of $rows rows:$rows" "UPDATE of $rows rows:$rows" "UPDATE of one row:5000" "DELETE of $rows rows:$rows"; do
  column=$((column + 1))
  printf '| %s |' "${what%:*}"
  for level in none keys audit; do
    awk -v ms="$(median "$level" "$column")" -v rows="${what#*:}" 'BEGIN { printf " %d |", rows / ms * 1000 }'
  done
  printf '\n'
done
