#!/bin/sh
# A longer version of the schemathesis test: scripts/contract.sh [ROUNDS] generates ROUNDS requests (default 300) for each
# operation of docs/openapi.yaml in each of two ways, with all checks enabled. The seed is printed; BACKUPGRAM_E2E_SEED=…
# repeats a run.
set -eu
case $# in
0 | 1) ;;
*) echo 'usage: scripts/contract.sh [ROUNDS]' >&2 && exit 2 ;;
esac
cd "$(dirname -- "$0")/.."
BACKUPGRAM_E2E_ROUNDS=${1:-300} BACKUPGRAM_E2E_SEED=${BACKUPGRAM_E2E_SEED:-$(date +%s)} \
    exec scripts/test.sh --test e2e contract::the_daemon -- --nocapture
