#!/bin/sh
# Restores the newest backup of a database into another database on the same server, which is replaced completely or not
# at all, and waits for the end. Exits with 0 if the restore succeeded. Needs curl 7.76 and jq.
#
#   REST_API_TOKEN=… ./restore-into-staging.sh DATABASE [TARGET]
#
# TARGET is DATABASE_staging by default, and may contain letters, digits and underscores. AFTER, if set, is the name of an SQL
# file in the container's HOOKS_DIR/restore that runs in the copy before it gets its name, for example to remove personal
# data. URL is the address of the API, by default http://127.0.0.1:8081.
set -eu

url=${URL:-http://127.0.0.1:8081}
: "${REST_API_TOKEN:?is not set}"
database=${1:?names no database}
target=${2:-${database}_staging}
[ "$target" != "$database" ] || { echo "this would replace $database itself" >&2 && exit 1; }

# The token is passed to curl on a pipe, because all users of the machine can read arguments.
ask() {
    printf 'Authorization: Bearer %s\n' "$REST_API_TOKEN" | curl -sS -H @- "$@"
}

list=$(ask --fail-with-body -G --data-urlencode "database=$database" "$url/backups?slot=last") || {
    echo "$list" >&2
    exit 1
}
name=$(printf '%s\n' "$list" | jq -r '[.backups[] | select(.alias_of == null)][0].name // ""')
[ -n "$name" ] || { echo "there is no backup of $database" >&2 && exit 1; }

body=$(jq -nc --arg file "last/$name" --arg target "$target" --arg after "${AFTER:-}" \
    '{file: $file, target_db: $target, confirm: true} + if $after == "" then {} else {after: $after} end')
answer=$(ask --fail-with-body -d "$body" "$url/restore") || { echo "$answer" >&2 && exit 1; }
id=$(echo "$answer" | jq -r .job_id)

while :; do
    # The job continues if the API is briefly unreachable.
    job=$(ask -f --retry 60 --retry-delay 1 --retry-connrefused "$url/jobs/$id")
    state=$(printf '%s\n' "$job" | jq -r .state)
    case $state in
    queued | running) sleep 1 ;;
    *) break ;;
    esac
done
printf '%s\n' "$job" | jq -r '.log_tail[], "job \(.id): \(.state)"'
[ "$state" = succeeded ]
