#!/bin/sh
# Demonstration: starts a temporary PostgreSQL, takes a backup over HTTP, restores it and compares the databases. Then it keeps
# running until Ctrl-C; with --once it exits by itself. Everything is removed at the end.
# If POSTGRES_HOST, POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB are set, it uses that server and database instead.
set -eu

case "$#${1-}" in
0 | 1--once) ;;
*) echo 'usage: scripts/quickstart.sh [--once]' >&2 && exit 2 ;;
esac

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=lib/install.sh
. "$root/scripts/lib/install.sh"
# shellcheck source-path=SCRIPTDIR source=lib/throwaway.sh
. "$root/scripts/lib/throwaway.sh"

bold='' dim='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
    bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m')
fi

prepare() {
    step=$1
    printf '%s%-10s%s' "$bold" "$1" "$plain"
}

say() {
    step=$1
    printf '\n%s%s%s\n' "$bold" "$1" "$plain"
}

# show COMMAND: prints the command as a user would type it, then runs it.
show() {
    printf '%s$ %s%s\n' "$dim" "$1" "$plain"
    eval "$1"
}

# Shows job $JOB each time its state changes, until it ends.
poll() {
    ask="curl -s -H \"Authorization: Bearer \$TOKEN\" \$URL/jobs/\$JOB | jq -c '{type, state, exit_code}'"
    printf '%s$ %s%s\n' "$dim" "$ask" "$plain"
    seen='' tries=0
    while [ "$tries" -lt 6000 ]; do
        state=$(eval "$ask")
        [ "$state" = "$seen" ] || echo "$state"
        case $state in
        *'"state":"succeeded"'*) return 0 ;;
        *'"state":"queued"'* | *'"state":"running"'*) ;;
        *) fail "the job did not succeed: $(curl -s -H "Authorization: Bearer $TOKEN" "$URL/jobs/$JOB" | jq -r .error)" ;;
        esac
        seen=$state tries=$((tries + 1))
        sleep 0.1
    done
    fail 'the job did not end in ten minutes'
}

install_programs() {
    if [ -z "${POSTGRES_HOST-}" ]; then
        postgres_bin >/dev/null || want postgresql postgresql
    fi
    have psql || want postgresql-client postgresql-client
    have curl || want curl curl
    have jq || want jq jq
    have cc || want 'gcc libc6-dev' build-base
    if ! have setsid || ! have setpriv; then want util-linux 'util-linux setpriv'; fi
    [ -z "$apt_wanted" ] || printf 'installing%s... ' "$apt_wanted"
    install_wanted >"$log" 2>&1
    find_cargo
    PATH="$(postgres_bin || echo "$PATH"):$PATH"
}

# In the background, so that a signal takes effect at once and not after the build.
build() {
    (cd "$root" && exec setsid cargo build --release --locked) >"$log" 2>&1 &
    running=-$!
    wait "${running#-}" || fail 'cargo build failed'
    running=''
    : >"$log"
    PATH="$(cd "$root" && cargo metadata --no-deps --locked --format-version 1 | jq -r .target_directory)/release:$PATH"
}

make_database() {
    database=shop copy=shop_restored
    start_postgres
    psql -Xqd postgres -c 'create database shop'
    psql -Xqd shop -v ON_ERROR_STOP=1 -f "$root/scripts/lib/shop.sql"
}

use_your_database() {
    database=${POSTGRES_DB:?} copy=backupgram_quickstart
    export PGHOST="$POSTGRES_HOST" PGPORT="${POSTGRES_PORT:-5432}"
    export PGUSER="${POSTGRES_USER:?}" PGPASSWORD="${POSTGRES_PASSWORD:?}"
    case $database in *[!A-Za-z0-9_.-]*) fail 'POSTGRES_DB must be one plain name here' ;; esac
    taken=$(psql -XAtd "$database" -c "select 1 from pg_database where datname = '$copy'") ||
        fail "cannot use $database on $PGHOST:$PGPORT"
    [ -z "$taken" ] || fail "your server has a database $copy already"
    undo="psql -Xqd '$database' -c 'drop database if exists $copy' 2>/dev/null"
}

start_daemon() {
    TOKEN=$(random_hex) URL=http://127.0.0.1:$(free_port) log=$work/daemon.log
    # Only these variables: others exported by your shell may be settings, too.
    setsid env -i PATH="$PATH" HOME="$work" TZ="${TZ-}" LANG=C.UTF-8 SCRIPTS_DIR="$root/scripts" \
        BACKUP_DIR="$work/backups" HOOKS_DIR="$work/hooks" HEALTHCHECK_PORT="$(free_port)" \
        POSTGRES_HOST="$PGHOST" POSTGRES_PORT="$PGPORT" POSTGRES_USER="$PGUSER" \
        POSTGRES_PASSWORD="$PGPASSWORD" POSTGRES_DB="$database" \
        REST_API_ENABLE=TRUE REST_API_BIND=127.0.0.1 REST_API_PORT="${URL##*:}" REST_API_TOKEN="$TOKEN" \
        backupgram-api >"$log" 2>&1 &
    running=$!
    tries=0
    until curl -sf -o /dev/null "$URL/healthz"; do
        tries=$((tries + 1))
        { [ "$tries" -lt 100 ] && kill -0 "$running" 2>/dev/null; } || fail 'the daemon does not answer'
        sleep 0.1
    done
}

export no_proxy=127.0.0.1
make_work
log=$work/log

echo "${bold}backupgram${plain}: a temporary database, a backup over HTTP, a restore, and a comparison"
echo
prepare 'programs'
install_programs
for program in pg_dump psql curl cargo; do
    "$program" --version | sed 's/ (PostgreSQL)//; s/^\([^ ]* [^ ]*\).*/\1/; q'
done | paste -s -d, | sed 's/,/, /g'
prepare 'build'
began=$(date +%s)
build
echo "target/release, in $(($(date +%s) - began)) s"
prepare 'database'
if [ -n "${POSTGRES_HOST-}" ]; then use_your_database; else make_database; fi
echo "$database on $PGHOST:$PGPORT"
prepare 'daemon'
start_daemon
echo "$URL"
mkdir "$work/here" && cd "$work/here"
cp "$root/scripts/lib/count-rows.sql" .

# shellcheck disable=SC2016 # show prints the dollars, and expands them afterwards
{
    say 'Liveness needs no token; everything else does.'
    show 'curl -s $URL/healthz'
    show 'curl -s $URL/status'

    say 'Take a backup. The answer is the id of a job, which is polled until it ends.'
    show 'JOB=$(curl -s -X POST -H "Authorization: Bearer $TOKEN" $URL/backup | jq -r .job_id)'
    poll

    say 'List the backups: slot, bytes, name.'
    show 'curl -s -H "Authorization: Bearer $TOKEN" $URL/backups | jq -r ".backups[] | [.slot, .size, .name] | @tsv"'

    say 'Download the newest.'
    NAME=$(curl -s -H "Authorization: Bearer $TOKEN" "$URL/backups?slot=last" |
        jq -r '[.backups[] | select(.alias_of == null)][0].name')
    show "curl -s -OJ -H \"Authorization: Bearer \$TOKEN\" \$URL/backups/last/$NAME"
    show "gunzip -c $NAME | grep 'PostgreSQL database dump'"

    say "Restore it into another database, $copy."
    show "JOB=\$(curl -s -X POST -H \"Authorization: Bearer \$TOKEN\" \\
    -d '{\"file\":\"last/$NAME\",\"target_db\":\"$copy\",\"confirm\":true}' \$URL/restore | jq -r .job_id)"
    poll

    say 'Compare the two, table by table.'
    show "psql -XAt -f count-rows.sql $database | tee rows.txt"
    show "psql -XAt -f count-rows.sql $copy | diff rows.txt - && echo 'the same'"
}

[ -z "${1-}" ] || exit 0
step='running'
cat <<TEXT

${bold}It is still running. Paste this into another terminal, and play:${plain}

  URL=$URL TOKEN=$TOKEN
  curl -s -H "Authorization: Bearer \$TOKEN" \$URL/status | jq
  PGPASSWORD=$PGPASSWORD psql -h $PGHOST -p $PGPORT -U $PGUSER $database

The backups are in $work/backups. Ctrl-C stops everything and removes it.
TEXT
wait "$running" || :
fail 'the daemon has ended by itself'
