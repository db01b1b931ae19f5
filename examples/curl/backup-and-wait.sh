#!/bin/sh
# Starts a backup over the API and waits for its end: all configured databases, or the named ones. Exits with 0 if the
# backup succeeded; prints the last lines of its log in any case. Needs curl 7.76 and jq.
#
#   REST_API_TOKEN=… ./backup-and-wait.sh [DATABASE…]
#
# URL is the address of the API, by default http://127.0.0.1:8081.
set -eu

url=${URL:-http://127.0.0.1:8081}
: "${REST_API_TOKEN:?is not set}"

# The token is passed to curl on a pipe, because all users of the machine can read arguments.
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
