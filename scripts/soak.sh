#!/bin/sh
# Does for longer what the tests do in short: scripts/soak.sh restore [ROUNDS] breaks restores off at random moments,
# 200 without a number; scripts/soak.sh damage [PLACES] looks for a wrong bit in so many places of each format, 50.
# The seed of the moments is printed; BACKUPGRAM_E2E_SEED=… shows the same ones again.
set -eu
case "${1-}" in
restore) test=restore_faults rounds=200 ;;
damage) test=damage rounds=50 ;;
*) echo 'usage: scripts/soak.sh restore|damage [ROUNDS]' >&2 && exit 2 ;;
esac
cd "$(dirname -- "$0")/.."
BACKUPGRAM_E2E_ROUNDS=${2:-$rounds} exec scripts/test.sh --test e2e "$test" -- --nocapture
