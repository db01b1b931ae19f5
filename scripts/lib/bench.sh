# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # variables are shared with what sources this
# Sourced by bench.sh: what its benchmarks share. They take turns in one work directory, and print markdown.

daemon='' # processes that a benchmark has left running
nginx=''

# Takes the place of the one in lib/throwaway.sh, which speaks of another script.
clean_up() {
    status=$?
    trap - EXIT
    trap '' INT TERM HUP
    set +e
    if [ "$status" -ne 0 ] && [ "$status" -lt 128 ]; then
        tail -n 20 "$log" >&2
        printf '\nthe benchmark failed at this step: %s\n' "$step" >&2
    fi
    [ -n "$daemon" ] || daemon=$(cat "$work/pid" 2>/dev/null)
    for pid in $running $daemon $nginx; do end "$pid"; done
    stop_postgres
    cd /
    [ -z "$work" ] || rm -rf "$work"
    exit "$status"
}

note() {
    step=$1
    printf '%s\n' "$1" >&2
}

# install_programs: those that the benchmark wanted, the compiler, and Debian's without the servers they would start.
install_programs() {
    note 'programs'
    have cc || want 'gcc libc6-dev' build-base
    policy=/usr/sbin/policy-rc.d ours=''
    if [ -n "$apt_wanted" ] && [ "$(id -u)" -eq 0 ] && [ ! -e "$policy" ]; then
        ours=$policy
        printf '#!/bin/sh\nexit 101\n' >"$ours" && chmod 755 "$ours"
    fi
    status=0
    install_wanted >&2 || status=$?
    [ -z "$ours" ] || rm -f "$ours"
    [ "$status" -eq 0 ] || return "$status"
    find_cargo
    PATH="$(postgres_bin || echo "$PATH"):$PATH:/usr/sbin"
}

build() {
    note 'build'
    (cd "$root" && cargo build --release --locked) >"$log" 2>&1 || fail 'cargo build failed'
    target=$(cd "$root" && cargo metadata --no-deps --locked --format-version 1 |
        sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release
    load_before=$(cut -d' ' -f1-3 /proc/loadavg)
}

# median COLUMN FILE
median() {
    cut -d' ' -f"$1" "$2" | sort -n | awk '{ of[NR] = $1 } END { print of[int((NR + 1) / 2)] }'
}

# calculate EXPRESSION [FORMAT]
calculate() {
    awk "BEGIN { printf \"${2:-%.2f}\", ($1) }"
}

# row WHAT MEASURED [GOAL CONDITION]
row() {
    reached=''
    if [ -n "${4-}" ]; then
        if [ "$(calculate "$4" %d)" -eq 1 ]; then reached=yes; else reached='**no**'; fi
    fi
    printf '| %s | %s | %s | %s |\n' "$1" "$2" "${3-}" "$reached" >>"$work/table"
}

mebi() {
    calculate "$1 / 1024" '%.1f MiB'
}

# memory FIELD PID: kibibytes.
memory() {
    sed -n "s/^$1:[^0-9]*\([0-9]*\).*/\1/p" "/proc/$2/status"
}

# print_machine [MORE]: when and where.
print_machine() {
    printf '%s, %s, %s cores, Linux %s%s, load average %s before and %s after.\n\n' "$(date -u +%Y-%m-%d)" \
        "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r)" "${1-}" \
        "$load_before" "$(cut -d' ' -f1-3 /proc/loadavg)"
}
