#!/bin/sh
# Benchmarks, printed as a markdown table. `scripts/bench.sh http` compares the daemon with nginx on loopback (about five
# minutes); `scripts/bench.sh backup` compares backups with pg_dump and a compressor (about three minutes);
# `scripts/bench.sh restore` compares restores with psql and pg_restore (about ten minutes; BENCH_SHARE=5 uses 5 per cent of
# the data, BENCH_ROUNDS=2 makes two pairs). All build the release first, and clean up afterwards.
set -eu

case "$#${1-}" in
1http | 1backup | 1restore) ;;
*) echo 'usage: scripts/bench.sh http|backup|restore' >&2 && exit 2 ;;
esac

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=lib/install.sh
. "$root/scripts/lib/install.sh"
# shellcheck source-path=SCRIPTDIR source=lib/throwaway.sh
. "$root/scripts/lib/throwaway.sh"
# shellcheck source-path=SCRIPTDIR source=lib/bench.sh
. "$root/scripts/lib/bench.sh"
# shellcheck source-path=SCRIPTDIR source=lib/bench-http.sh
. "$root/scripts/lib/bench-http.sh"
# shellcheck source-path=SCRIPTDIR source=lib/bench-backup.sh
. "$root/scripts/lib/bench-backup.sh"
# shellcheck source-path=SCRIPTDIR source=lib/bench-restore.sh
. "$root/scripts/lib/bench-restore.sh"

TMPDIR=${TMPDIR:-/var/tmp} # /tmp is often memory
make_work
log=$work/log backups=$work/backups
mkdir "$backups"
"benchmark_$1"
