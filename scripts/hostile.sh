#!/bin/sh
# Attacks a release build of the daemon, limited to 256 open files, and then go-cron's health port, each for about two and a
# half minutes: malformed requests, and many clients that stall, guess tokens, fill buffers or flood. Fails if a probe takes
# 250 ms, a job is lost, or memory, threads or descriptors exceed their limits. Uses the loopback only.
exec 0</dev/null
set -u

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
cd "$root" || exit 1
# shellcheck source=scripts/lib/install.sh
. scripts/lib/install.sh
find_cargo || exit 1

cargo test --locked --release --test e2e --no-run || exit 1
BACKUPGRAM_SIEGE=full cargo test --quiet --locked --release --test e2e -- --test-threads=1 --nocapture siege::
