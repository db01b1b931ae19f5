#!/bin/sh
# Has schemathesis ask a daemon for longer what the tests ask it in short: scripts/contract.sh [ROUNDS] makes up so many
# requests for each operation of docs/openapi.yaml in each of two ways, 300 without a number, with all of its checks.
# The seed is printed; BACKUPGRAM_E2E_SEED=… asks the same again.
set -eu
case $# in
0 | 1) ;;
*) echo 'usage: scripts/contract.sh [ROUNDS]' >&2 && exit 2 ;;
esac
cd "$(dirname -- "$0")/.."
BACKUPGRAM_E2E_ROUNDS=${1:-300} BACKUPGRAM_E2E_SEED=${BACKUPGRAM_E2E_SEED:-$(date +%s)} \
    exec scripts/test.sh --test e2e contract::the_daemon -- --nocapture
