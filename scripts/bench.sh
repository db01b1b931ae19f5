#!/bin/sh
# How fast it is, as one markdown table. `scripts/bench.sh http` runs the daemon beside nginx on loopback, for about
# five minutes; `scripts/bench.sh backup` takes backups beside those that pg_dump and a compressor make, for about three.
# Both build the release first. What they started and wrote is gone afterwards.
set -eu

case "$#${1-}" in
1http | 1backup) ;;
*) echo 'usage: scripts/bench.sh http|backup' >&2 && exit 2 ;;
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

TMPDIR=${TMPDIR:-/var/tmp} # /tmp is often memory
make_work
log=$work/log backups=$work/backups
mkdir "$backups"
"benchmark_$1"
