#!/bin/sh
# Test coverage of src/: prints a line for each file and writes target/llvm-cov/html. Arguments go to cargo test.
# Programs killed with SIGKILL leave no counts, so the real coverage is somewhat higher.
exec 0</dev/null
set -eu
cd "$(dirname -- "$0")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/backupgram-coverage.XXXXXX")
trap 'rm -rf "$work"' EXIT
# shellcheck source=scripts/lib/install.sh
. scripts/lib/install.sh
# shellcheck source=scripts/lib/test-programs.sh
. scripts/lib/test-programs.sh
install_all
have cargo-llvm-cov || cargo install cargo-llvm-cov --locked
rustup component add llvm-tools
cargo llvm-cov clean --workspace
# A test may fail because counting is slow; only scripts/test.sh decides whether the tests pass.
cargo llvm-cov --locked --no-report --ignore-run-fail "$@"
cargo llvm-cov report --html
cargo llvm-cov report --summary-only
