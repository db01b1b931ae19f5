#!/bin/sh
# How much of src/ the tests run: scripts/coverage.sh prints a line for each file and leaves target/llvm-cov/html.
# Arguments go to cargo test. Programs that a test ends by SIGKILL leave no counts, so it is rather more than is printed.
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
# A test may fail by the time that counting takes; scripts/test.sh is what judges them.
cargo llvm-cov --locked --no-report --ignore-run-fail "$@"
cargo llvm-cov report --html
cargo llvm-cov report --summary-only
