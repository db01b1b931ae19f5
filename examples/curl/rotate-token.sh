#!/bin/sh
# Gives the API a new token: writes it to the file that REST_API_TOKEN_FILE or a secret of Docker Compose is taken from,
# has the container made anew by the command that follows, and waits until the new token is the one that counts. If it
# does not come to that in a minute, the old one is put back. Needs curl and openssl.
#
#   ./rotate-token.sh backupgram_token.txt docker compose up -d --force-recreate backup
#
# URL says where the API is, if not at http://127.0.0.1:8081.
set -eu

url=${URL:-http://127.0.0.1:8081}
[ $# -ge 2 ] || { echo 'usage: rotate-token.sh FILE COMMAND…' >&2 && exit 2; }
file=$1
shift
old=$(cat "$file")

# The status that a token gets. It goes to curl on a pipe: everybody on the machine can read arguments.
status() {
    printf 'Authorization: Bearer %s\n' "$1" | curl -s -m 5 -o /dev/null -w '%{http_code}' -H @- "$url/status" || :
}

[ "$(status "$old")" = 200 ] || { echo "the API does not answer to the token in $file" >&2 && exit 1; }
new=$(openssl rand -hex 32)
# However this ends, a token that does not count is not left in the file.
put_back() {
    echo "$old" >"$file"
    echo "the API does not answer to the new token; the old one is in $file again" >&2
}
trap 'put_back; exit 1' HUP INT TERM
# In place, so that owner and mode stay, and a mount of the file shows it.
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
