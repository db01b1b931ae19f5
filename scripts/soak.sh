#!/bin/sh
# Longer versions of tests; the number in brackets is the default:
#   soak.sh restore [ROUNDS]     aborts restores at random moments, and kills as many normal and in-place restores (200)
#   soak.sh extensions [ROUNDS]  restores databases with extensions repeatedly (10)
#   soak.sh round-trips          restores each database from every format in every way
#   soak.sh damage [PLACES]      checks that a wrong bit is detected, at this many places of each format (50)
#   soak.sh faults [ROUNDS]      injects one random fault into each backup run (300)
#   soak.sh telegram             sends backups of every size around the Bot API's limits, and up to 2 GB, and downloads them
# The random seed is printed; BACKUPGRAM_E2E_SEED=… repeats a run.
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
