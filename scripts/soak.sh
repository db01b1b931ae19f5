#!/bin/sh
# Breaks off many more restores than the tests do, at random moments: scripts/soak.sh restore [ROUNDS], 200 without.
# The seed is printed; BACKUPGRAM_E2E_SEED=… shows the same moments again.
set -eu
[ "${1-}" = restore ] || { echo 'usage: scripts/soak.sh restore [ROUNDS]' >&2 && exit 2; }
cd "$(dirname -- "$0")/.."
BACKUPGRAM_E2E_ROUNDS=${2:-200} exec scripts/test.sh --test e2e restore_faults -- --nocapture
