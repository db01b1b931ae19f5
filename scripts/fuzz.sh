#!/bin/sh
# Fuzzes every parser of external input, each for SECONDS (default 300), and prints a line for each. Further arguments name
# the targets to run. Exits with 1 if one has crashed.
exec 0</dev/null
set -u

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
cd "$root" || exit 1
# shellcheck source=scripts/lib/install.sh
. scripts/lib/install.sh

seconds=300
case ${1-} in
'') ;;
*[!0-9]*)
    echo 'usage: scripts/fuzz.sh [SECONDS [TARGET…]]' >&2
    exit 2
    ;;
*)
    seconds=$1
    shift
    ;;
esac

work=$(mktemp -d "${TMPDIR:-/tmp}/backupgram-fuzz.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The fuzzer needs unstable compiler options. This enables them in the stable compiler, so that no second one is needed.
export RUSTC_BOOTSTRAP=1

prepare() {
    have c++ || want g++ g++
    [ -e /usr/share/zoneinfo/Europe/Berlin ] || want tzdata tzdata
    install_wanted && find_cargo || return 1
    PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    have cargo-fuzz || cargo install cargo-fuzz --locked || return 1
    cargo fuzz build
}

# The last number printed by the fuzzer under a name.
statistic() {
    awk -v name="stat::$1:" '$1 == name { number = $2 } END { print number + 0 }' "$work/$target.log"
}

# New inputs go to the first directory, so the committed corpus does not change.
run() {
    mkdir -p "$work/$target" || return 1
    cargo fuzz run "$target" "$work/$target" "fuzz/corpus/$target" -- -max_total_time="$seconds" -max_len=20000 \
        -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 >"$work/$target.log" 2>&1
}

report() {
    found=$(find "$work/$target" -type f | wc -l)
    kept=$(find "fuzz/corpus/$target" -type f | wc -l)
    printf '%-14s %11s executions, corpus %s + %s new: %s\n' "$target" "$(statistic number_of_executed_units)" \
        "$kept" "$found" "$1"
}

prepare >"$work/log" 2>&1 || {
    cat "$work/log"
    exit 1
}
[ $# -gt 0 ] || for path in fuzz/fuzz_targets/*.rs; do
    name=${path##*/}
    set -- "$@" "${name%.rs}"
done
status=0
for target in "$@"; do
    if run; then
        report ok
    else
        report CRASHED
        sed -n '/panicked at/{p;n;p;n;p;}; /ERROR: /p; /^Reproduce with/,/cargo fuzz/p' "$work/$target.log"
        status=1
    fi
done
exit "$status"
