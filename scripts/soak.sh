#!/bin/sh
# Does for longer what the tests do in short: scripts/soak.sh restore [ROUNDS] breaks restores off at random moments, and
# kills as many in the ordinary way and as many under the target's own name, 200 without a number; scripts/soak.sh
# extensions [ROUNDS] restores databases with extensions again and again, 10; scripts/soak.sh round-trips brings each
# database back from every format by every way; scripts/soak.sh damage [PLACES] looks for a wrong bit in so many places of
# each format, 50; scripts/soak.sh faults [ROUNDS] strikes backup runs by one fault each, 300; scripts/soak.sh telegram sends backups of every size around the Bot API's limits, and up to 2 GB, and
# fetches them.
# The seed of the moments is printed; BACKUPGRAM_E2E_SEED=… shows the same ones again.
set -eu
case "${1-}" in
restore) test='restore_faults restore_kills' rounds=200 ;;
extensions) test=extensions:: rounds=10 ;;
round-trips) test=round_trips rounds=1 ;;
damage) test=damage rounds=50 ;;
faults) test=random_faults rounds=300 ;;
telegram)
    test=telegram rounds=1
    export BACKUPGRAM_E2E_SIZES='19499999 19500000 19500001 20971519 20971520 20971521 38999999 39000000 39000001
        52428799 52428800 52428801 1073741824'
    export BACKUPGRAM_E2E_OWN_SIZES='1073741824 1989999999 1990000000 1990000001'
    ;;
*) echo 'usage: scripts/soak.sh restore|extensions|damage|faults [ROUNDS], scripts/soak.sh round-trips|telegram' >&2 && exit 2 ;;
esac
cd "$(dirname -- "$0")/.."
# shellcheck disable=SC2086 # a list of words
BACKUPGRAM_E2E_ROUNDS=${2:-$rounds} exec scripts/test.sh --test e2e -- --nocapture $test
