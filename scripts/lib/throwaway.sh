# shellcheck shell=sh
# Sourced by quickstart.sh and bench.sh: a directory, a PostgreSQL server and a background process, all gone when the script ends.

work=''         # the directory
running=''      # what runs in the background: a pid, or a process group with a minus sign
undo=''         # a command to run at the end
step='starting' # what to say failed, and the file whose end says why
log=/dev/null

fail() {
    printf '\n%s\n' "$1" >&2
    exit 1
}

make_work() {
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    work=$(mktemp -d "${TMPDIR:-/tmp}/backupgram-quickstart.XXXXXX")
}

clean_up() {
    status=$?
    trap - EXIT
    trap '' INT TERM HUP
    set +e
    if [ "$status" -ne 0 ] && [ "$status" -lt 128 ]; then
        tail -n 20 "$log" >&2
        printf '\nquickstart failed at this step: %s\n' "$step" >&2
    fi
    # A signal may come between the fork and the note of it; $! knows then.
    running=${running:-${!:+-$!}}
    [ -z "$running" ] || end "$running"
    [ -z "$undo" ] || eval "$undo"
    stop_postgres
    cd /
    [ -z "$work" ] || rm -rf "$work"
    if [ "$status" -eq 0 ] || [ "$status" -ge 128 ]; then
        printf '\nStopped, and everything removed.\n'
    fi
    exit "$status"
}

# end PID, or -PID for its whole group. Waits a little longer than the daemon gives its own children.
end() {
    kill -s TERM -- "$1" 2>/dev/null || kill -s TERM "${1#-}" 2>/dev/null || return 0
    tries=0
    while kill -s 0 -- "$1" 2>/dev/null && [ "$tries" -lt 120 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    kill -s KILL -- "-${1#-}" 2>/dev/null || :
}

random_hex() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# A port that nobody listens on, below those that the kernel gives to clients. Asks /proc, as ss may not be installed.
free_port() {
    while :; do
        port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
        grep -qi ":$(printf '%04x' "$port") " /proc/net/tcp /proc/net/tcp6 2>/dev/null || break
    done
    echo "$port"
}

# PostgreSQL refuses to run as root.
as_owner() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid="$owner" --regid="$(id -g "$owner")" --clear-groups -- "$@"
    else
        "$@"
    fi
}

# Starts a server on loopback and points libpq at it. No socket, and no fsync: nobody wants to keep this.
start_postgres() {
    owner=$(id -un)
    if [ "$owner" = root ]; then
        owner=postgres
        id "$owner" >/dev/null 2>&1 || owner=nobody
    fi
    export PGHOST=127.0.0.1 PGPORT PGUSER=postgres PGPASSWORD
    PGPORT=$(free_port) PGPASSWORD=$(random_hex)
    chmod 711 "$work"
    mkdir "$work/postgres"
    echo "$PGPASSWORD" >"$work/postgres/password"
    if [ "$(id -u)" -eq 0 ]; then
        chown -R "$owner" "$work/postgres"
    fi
    cd "$work" || fail "cannot enter $work"
    as_owner initdb -D postgres/data -U "$PGUSER" -A scram-sha-256 --pwfile postgres/password \
        -E UTF8 --locale=C --no-sync >"$log" 2>&1 || fail 'initdb failed'
    as_owner pg_ctl -D postgres/data -l postgres/log start \
        -o "-c listen_addresses=127.0.0.1 -c port=$PGPORT -c unix_socket_directories= -c fsync=off" >"$log" 2>&1 ||
        fail 'PostgreSQL does not start'
}

stop_postgres() {
    [ -n "$work" ] && [ -e "$work/postgres/data/postmaster.pid" ] || return 0
    cd "$work" || return 0
    as_owner pg_ctl -D postgres/data -m fast stop >/dev/null 2>&1 ||
        as_owner pg_ctl -D postgres/data -m immediate stop >/dev/null 2>&1
}
