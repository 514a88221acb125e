.PHONY: setup demo test versions alters debezium check bench compare growth clean
# A test waits for its servers most of the time, and each broker takes half a gigabyte.
export RUST_TEST_THREADS ?= 4
TOOLS = $${INLET_CACHE:-$$HOME/.cache/inlet}

setup: ; @dev/scripts/setup.sh
demo: setup ; @cargo run --release -p inlet -- demo $(if $(MODE),--mode $(MODE))
test: setup ; cargo test --release --workspace --no-fail-fast
# The core suite on every other version; `make versions ON=18 WHOLE=1` runs every test on one of them.
ON ?= 13 14 16 17 18
versions: setup ; @WHOLE=$(WHOLE) dev/scripts/test-versions.sh $(ON)
# Every type altered into every type, and other changes, judged by what DuckDB shows; many minutes.
alters: setup ; cargo test --release --workspace --test alters -- --test-threads 1
# Debezium's connector in a real Kafka Connect: its topics read, and ours beside them; some minutes.
debezium: ; @dev/scripts/setup.sh --debezium && cargo test --release --workspace --test debezium -- --test-threads 1
check:
	cargo fmt --all --check
	dev/scripts/check-prose
	dev/scripts/setup.sh --checks
	$(TOOLS)/cargo-shear/bin/cargo-shear --locked
	$(TOOLS)/cargo-deny/bin/cargo-deny --config .cargo/deny.toml --log-level error check bans licenses sources
	dev/benchmarks/render.py --check
	cargo clippy --release --workspace --all-targets -- -D warnings
# Variables are the programs' options: `make compare ROWS=1000000 RECORD=1`, `make bench QUICK=1`.
bench: ; @dev/benchmarks/bench.sh $(MAKEOVERRIDES)
compare: ; @dev/benchmarks/compare.sh $(MAKEOVERRIDES)
growth: ; @dev/benchmarks/growth.sh $(MAKEOVERRIDES)
clean: ; cargo clean
