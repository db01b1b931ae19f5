#!/bin/sh
# Changes the token of the API: writes a new one to the file behind REST_API_TOKEN_FILE or a Docker Compose secret, recreates
# the container with the given command, and waits until the new token is accepted. If that takes longer than a minute, the
# old token is restored. Needs curl and openssl.
#
#   ./rotate-token.sh backupgram_token.txt docker compose up -d --force-recreate backup
#
# URL is the address of the API, by default http://127.0.0.1:8081.
set -eu

url=${URL:-http://127.0.0.1:8081}
[ $# -ge 2 ] || { echo 'usage: rotate-token.sh FILE COMMAND…' >&2 && exit 2; }
file=$1
shift
old=$(cat "$file")

# The status for a token, which is passed to curl on a pipe, because all users of the machine can read arguments.
status() {
    printf 'Authorization: Bearer %s\n' "$1" | curl -s -m 5 -o /dev/null -w '%{http_code}' -H @- "$url/status" || :
}

[ "$(status "$old")" = 200 ] || { echo "the API does not answer to the token in $file" >&2 && exit 1; }
new=$(openssl rand -hex 32)
# On any failure, the file gets the old token back.
put_back() {
    echo "$old" >"$file"
    echo "the API does not answer to the new token; the old one is in $file again" >&2
}
trap 'put_back; exit 1' HUP INT TERM
# In place, so that owner and mode are kept, and a bind mount of the file sees the change.
echo "$new" >"$file"

deadline=$(($(date +%s) + 60))
if "$@"; then
    until [ "$(status "$new")" = 200 ] || [ "$(date +%s)" -ge "$deadline" ]; do sleep 1; done
fi
if [ "$(status "$new")" = 200 ]; then
    echo "the new token is in $file, and the old one gets $(status "$old")"
    exit
fi
put_back
"$@" || :
exit 1
