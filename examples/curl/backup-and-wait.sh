#!/bin/sh
# Takes a backup over the API and waits until it has ended: of all databases of the settings, or of those that are
# named. Ends with 0 when it has succeeded; prints the last lines of its log either way. Needs curl 7.76 and jq.
#
#   REST_API_TOKEN=… ./backup-and-wait.sh [DATABASE…]
#
# URL says where the API is, if not at http://127.0.0.1:8081.
set -eu

url=${URL:-http://127.0.0.1:8081}
: "${REST_API_TOKEN:?is not set}"

# The token goes to curl on a pipe: everybody on the machine can read arguments.
ask() {
    printf 'Authorization: Bearer %s\n' "$REST_API_TOKEN" | curl -sS -H @- "$@"
}

if [ $# -gt 0 ]; then
    body=$(jq -nc '{databases: $ARGS.positional}' --args "$@")
    answer=$(ask --fail-with-body -d "$body" "$url/backup") || { echo "$answer" >&2 && exit 1; }
else
    answer=$(ask --fail-with-body -X POST "$url/backup") || { echo "$answer" >&2 && exit 1; }
fi
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
