#!/bin/sh
# Restores the newest backup of a database into another one of the same server, which it replaces whole or not at all,
# and waits until that has ended. Ends with 0 when it has succeeded. Needs curl 7.76 and jq.
#
#   REST_API_TOKEN=… ./restore-into-staging.sh DATABASE [TARGET]
#
# TARGET is DATABASE_staging unless it is named, and may have letters, digits and underscores. AFTER names a file of SQL in
# the container's HOOKS_DIR/restore, if it is set: that is run in the copy before it gets its name, for example to take out
# personal data. URL says where the API is, if not at http://127.0.0.1:8081.
set -eu

url=${URL:-http://127.0.0.1:8081}
: "${REST_API_TOKEN:?is not set}"
database=${1:?names no database}
target=${2:-${database}_staging}
[ "$target" != "$database" ] || { echo "this would replace $database itself" >&2 && exit 1; }

# The token goes to curl on a pipe: everybody on the machine can read arguments.
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
    # The job goes on while the API cannot be reached for a moment.
    job=$(ask -f --retry 60 --retry-delay 1 --retry-connrefused "$url/jobs/$id")
    state=$(printf '%s\n' "$job" | jq -r .state)
    case $state in
    queued | running) sleep 1 ;;
    *) break ;;
    esac
done
printf '%s\n' "$job" | jq -r '.log_tail[], "job \(.id): \(.state)"'
[ "$state" = succeeded ]
