.PHONY: setup demo test check bench clean
setup: ; @scripts/setup.sh
demo: setup ; @cargo run --release -q -p inlet -- demo $(if $(MODE),--mode $(MODE))
test: setup ; cargo test --release --workspace --no-fail-fast
check: ; cargo fmt --all --check && cargo clippy --release --workspace --all-targets -- -D warnings
bench: setup ; @benchmarks/run $(ARGS)
clean: ; cargo clean
