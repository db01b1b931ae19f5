#!/bin/sh
# Builds the image from the Dockerfile without a registry, on base images that it creates itself, and tests it in
# containers. It needs root, buildah, podman, runc and debootstrap, and reports what is missing when it skips.
# With --quick the programs are not optimised. It cleans up afterwards.
set -eu

case "$#${1-}" in
0) cargo_config='' ;;
1--quick) cargo_config=$(printf '[profile.release]\nlto = false\ncodegen-units = 16\nopt-level = 0') ;;
*) echo 'usage: scripts/image-test.sh [--quick]' >&2 && exit 2 ;;
esac

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=lib/install.sh
. "$root/scripts/lib/install.sh"
# shellcheck source-path=SCRIPTDIR source=lib/containers.sh
. "$root/scripts/lib/containers.sh"
# shellcheck source-path=SCRIPTDIR source=lib/test-programs.sh
. "$root/scripts/lib/test-programs.sh"

if [ "$(id -u)" -eq 0 ] && have apt-get && [ -n "$(containers_missing)" ]; then
    want 'buildah podman runc debootstrap jq busybox-static netavark aardvark-dns iptables openssl' ''
    install_wanted >/dev/null 2>&1 || :
fi
missing=$(containers_missing)
if [ -n "$missing" ]; then
    printf 'SKIPPED: the image was not built and not tried, for want of: %s\n' "$(echo "$missing" | paste -sd' ')"
    exit 0
fi

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

# A missing feature of this machine is not a failure of the image.
skip() {
    tail -n 5 "$log"
    printf 'SKIPPED: the image was not built and not tried, as here %s\n' "$1"
    exit 0
}

clean_up() {
    status=$?
    trap - EXIT
    trap '' INT TERM HUP
    if [ "$status" -ne 0 ] && [ "$status" -lt 128 ]; then
        for name in $(containers ps --all --format '{{.Names}}' 2>/dev/null); do
            printf -- '-- %s\n' "$name" >&2
            containers logs --tail 20 "$name" >&2 || :
        done
        tail -n 15 "$log" >&2
        printf 'failed at this step: %s\n' "$step" >&2
    fi
    containers rm --all --force --time 0 >/dev/null 2>&1 || :
    build umount --all >/dev/null 2>&1 || :
    # podman leaves a bind mount of its store on itself.
    grep -F " $work/" /proc/mounts | cut -d' ' -f2 | sort -r | while read -r mount; do umount -l "$mount"; done
    rm -rf "$work"
    exit "$status"
}

work=$(mktemp -d "${TMPDIR:-/var/tmp}/backupgram-image.XXXXXX")
log=$work/log step='starting'
: >"$log"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

step() {
    step=$1
    printf '%s s: %s\n' "$(($(date +%s) - began))" "$1"
}

token=0123456789abcdef0123456789abcdef

# api CURL_ARGUMENT…: sends a request to the daemon, from inside its container.
api() {
    containers exec backup curl -sS -f -H "Authorization: Bearer $token" "$@"
}

# job PATH [BODY]: starts a job and waits for its end.
job() {
    id=$(api -X POST -H 'Content-Type: application/json' ${2:+-d "$2"} "http://localhost:8081$1" | jq -r .job_id)
    until_so "the end of job $id" ended "$id"
    [ "$(api "http://localhost:8081/jobs/$id" | jq -r .state)" = succeeded ] || fail "job $id did not succeed"
}

ended() {
    case $(api "http://localhost:8081/jobs/$1" | jq -r .state) in queued | running) return 1 ;; esac
}

# A server with a database, on a loopback shared with the other containers.
start_database() {
    start database --network none --user postgres --tmpfs /tmp --env PGPASSWORD=secret localhost/base sh -ec '
        echo secret >/tmp/password
        initdb -D /tmp/data -A scram-sha-256 --pwfile=/tmp/password >/dev/null
        exec postgres -D /tmp/data -c listen_addresses=127.0.0.1 -k /tmp -c fsync=off'
    until_so 'the server answers' sql postgres -c 'SELECT 1'
    sql postgres -c 'CREATE DATABASE mydb'
    sql mydb <"$root/scripts/lib/shop.sql"
}

sql() {
    containers exec --interactive database psql -h 127.0.0.1 -XAtq -v ON_ERROR_STOP=1 -d "$@"
}

rows() {
    sql "$1" <"$root/scripts/lib/count-rows.sql"
}

# tool NAME OPTION… IMAGE ARGUMENT…: a container beside the database.
tool() {
    name=$1
    shift
    start "$name" --network container:database --env POSTGRES_HOST=127.0.0.1 --env POSTGRES_DB=mydb \
        --env POSTGRES_USER=postgres --env POSTGRES_PASSWORD=secret "$@"
}

# with_api OPTION…: the image with the API, on the volume `backups`.
with_api() {
    tool backup --volume backups:/backups --env REST_API_ENABLE=TRUE --env REST_API_TOKEN=$token "$@" localhost/backupgram
    until_so 'the API answers' containers exec backup curl -sf http://localhost:8081/healthz
}

newest() {
    api 'http://localhost:8081/backups?slot=last' | jq -r '[.backups[] | select(.alias_of == null)][0].name'
}

# The examples of the documentation, in a container started without options.
try_the_api() {
    [ "$(containers exec backup curl -s -o /dev/null -w '%{http_code}' http://localhost:8081/status)" = 401 ] ||
        fail 'a stranger was let in'
    job /backup
    name=$(newest)
    containers exec backup sh -c "cd /tmp && curl -sS -OJ -H 'Authorization: Bearer $token' \
        http://localhost:8081/backups/last/$name && gunzip -t $name"
    job /restore "{\"file\":\"last/$name\",\"target_db\":\"copy\",\"confirm\":true}"
    [ "$(rows mydb)" = "$(rows copy)" ] || fail 'the restored database is another one'
    api -X DELETE "http://localhost:8081/backups/last/$name?confirm=true" >/dev/null
    api -X PATCH -H 'Content-Type: application/json' -d '{"SCHEDULE":"0 3 * * *","BACKUP_KEEP_DAYS":"14"}' \
        http://localhost:8081/config >/dev/null
    api -X DELETE http://localhost:8081/config/SCHEDULE >/dev/null
    [ "$(api http://localhost:8081/status | jq -r .schedule)" = @daily ] || fail 'the schedule is not the first again'
    for command in list status help; do
        containers exec backup "$command" >>"$log" || fail "$command fails"
    done
    for path in /env.sh /backup.sh /list.sh; do
        containers exec backup "$path" >>"$log" 2>&1 || fail "$path fails"
    done
    containers exec backup /restore.sh "last/$(newest)" copy >>"$log" 2>&1 || fail '/restore.sh fails'
}

try_health() {
    until_so 'it is healthy' healthy backup
    sql postgres -c 'ALTER DATABASE mydb RENAME TO away'
    containers exec backup backup >>"$log" 2>&1 && fail 'a backup of no database succeeded'
    unhealthy backup >>"$log" || fail 'it is healthy after a backup that failed'
    sql postgres -c 'ALTER DATABASE away RENAME TO mydb'
    containers exec backup backup >>"$log" 2>&1
    healthy backup >>"$log" || fail 'it is not healthy after a backup that succeeded'
}

# stop NAME EXIT_STATUS: must also happen within the ten seconds that Docker allows.
stop() {
    began_to_stop=$(date +%s)
    containers stop --time 30 "$1" >>"$log" 2>&1
    [ $(($(date +%s) - began_to_stop)) -le 10 ] || fail "$1 needs more than ten seconds to stop"
    status=$(containers inspect --format '{{.State.ExitCode}}' "$1")
    [ "$status" = "$2" ] || fail "$1 ended with $status, not with $2"
}

dumping() {
    containers exec backup sh -c 'ls /backups/.partial | grep -q mydb'
}

# Stopped during a dump that waits for a lock.
try_to_stop() {
    sql mydb -c 'BEGIN; LOCK TABLE customers; SELECT pg_sleep(60)' >>"$log" 2>&1 &
    holder=$!
    until_so 'the table is locked' locked
    before=$(containers exec backup sh -c 'ls /backups/last')
    api -X POST http://localhost:8081/backup >>"$log"
    until_so 'it dumps' dumping
    stop backup 0
    sql postgres -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()" >>"$log"
    wait "$holder" || :
    containers start backup >>"$log" 2>&1
    until_so 'it is up again' containers exec backup curl -sf http://localhost:8081/healthz
    [ "$(containers exec backup sh -c 'ls /backups/last')" = "$before" ] || fail 'the stop has changed what there is'
    [ "$(containers exec backup sh -c 'ls /backups/.partial')" = '' ] || fail 'something unfinished is left'
    [ "$(api http://localhost:8081/config | jq -r .config.BACKUP_KEEP_DAYS.value)" = 14 ] || fail 'an override is lost'
    containers exec backup status >>"$log" || fail 'the status is lost'
    containers exec backup backupgram history | grep -q mydb || fail 'the history is lost'
}

locked() {
    [ "$(sql postgres -c "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL")" != 0 ]
}

# Our programs with only a shell besides them.
try_busybox() {
    bare=$(build from scratch)
    build copy "$bare" "$(command -v busybox)" /bin/busybox
    build run --isolation chroot "$bare" /bin/busybox --install -s /bin
    build copy --from localhost/backupgram "$bare" /usr/local/bin /bin
    build copy --from localhost/backupgram "$bare" /init.sh /env.sh /backup.sh /
    build config --entrypoint '["/init.sh"]' --env PATH=/bin --volume /backups "$bare"
    build commit --rm "$bare" localhost/bare
    tool bare --tmpfs /tmp --env REST_API_ENABLE=TRUE --env REST_API_TOKEN=$token localhost/bare
    until_so 'the API answers' containers exec bare wget -q -O - http://127.0.0.1:8081/healthz
    containers exec bare list
    containers exec bare backup && fail 'a backup without pg_dump succeeded'
    stop bare 0
}

# hardened NAME OPTION…: as any user, with minimal privileges.
hardened() {
    name=$1
    shift
    tool "$name" --read-only --tmpfs /tmp --cap-drop all --security-opt no-new-privileges "$@"
}

no_zombie() {
    ! containers exec "$1" sh -c 'cat /proc/[0-9]*/stat' 2>/dev/null | grep -q ') Z '
}

probe() {
    containers run --rm --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 --network none localhost/base true
}

# Whether getting-started.md can be tested here.
try_network() {
    "$python_dir/bin/python" -m podman_compose --help && configure_podman && podman network create walk &&
        podman run --rm --network walk --publish 127.0.0.1:8081:8081 localhost/base true
}

began=$(date +%s)
step 'making base images'
# In the background, because set -e has no effect in a function called on the left of ||.
make_base_images "$cargo_config" >>"$log" 2>&1 &
wait "$!" || skip 'the base images cannot be made'
probe >>"$log" 2>&1 || skip 'no container runs'
step 'building the image'
build_image "$root" localhost/backupgram >>"$log" 2>&1
step 'starting a server'
start_database

step 'with the API, as root'
with_api --env SCHEDULE=@daily
try_the_api
step 'health'
try_health
step 'stop in the middle of a dump, and start again'
try_to_stop
no_zombie backup || fail 'a zombie is left'
stop backup 0
containers rm backup >>"$log" 2>&1

for user in 10001:10001 postgres; do
    step "as $user, with nothing that it does not need, on a schedule"
    hardened scheduled --user "$user" --env SCHEDULE='@every 2s' localhost/backupgram
    until_so 'a scheduled backup' says scheduled 'backup succeeded'
    until_so 'it is healthy' healthy scheduled
    name=$(containers exec scheduled ls /backups/last | grep -v latest | head -n 1)
    # Not while the next backup runs.
    until_so 'it is restored' containers exec scheduled restore "last/$name" copy >>"$log" 2>&1
    [ "$(rows mydb)" = "$(rows copy)" ] || fail 'the restored database is another one'
    no_zombie scheduled || fail 'a zombie is left'
    stop scheduled 0
    containers rm --volumes scheduled >>"$log" 2>&1
done
step 'one command, and no more'
containers run --rm --no-healthcheck --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 --network none --volume backups:/backups \
    localhost/backupgram list | grep -q mydb- || fail 'list shows nothing'

step "a volume that it may not write to"
mkdir -m 700 "$work/foreign"
tool refused --user 10001 --volume "$work/foreign:/backups" localhost/backupgram backup
containers wait refused >>"$log" 2>&1
says refused 'user id 10001 may not write to /backups; run ' || fail 'it does not say what is wrong'
says refused 'chown -R 10001 /backups' || fail 'it does not say what to do'
[ "$(containers logs refused 2>&1 | wc -l)" -eq 1 ] || fail 'it says more than that'

step 'on busybox alone'
try_busybox >>"$log" 2>&1
containers run --rm --no-healthcheck --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 --network none \
    localhost/backupgram ls -l /usr/local/bin
if try_network >>"$log" 2>&1; then
    step 'the way through docs/getting-started.md, on a clone of the last commit'
    make_postgres_image "$root/scripts/lib/postgres-stand-in.sh" >>"$log" 2>&1
    mkdir "$work/bin" && ln -s "$root/scripts/lib/docker-stand-in.sh" "$work/bin/docker"
    PATH="$work/bin:$PATH" BACKUPGRAM_PYTHON="$python_dir/bin/python" BACKUPGRAM_ROOT="$root" \
        BACKUPGRAM_CONTAINERS="$work" "$root/scripts/walkthrough.sh" >>"$log" 2>&1
else
    printf 'SKIPPED: nobody has walked through docs/getting-started.md, for want of podman-compose, a network or port 8081\n'
fi

base=$(containers image inspect --format '{{.Size}}' localhost/base)
whole=$(containers image inspect --format '{{.Size}}' localhost/backupgram)
step "ok; the image adds $(((whole - base) / 1024)) KiB to its base"
