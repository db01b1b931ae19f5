#!/bin/sh
# Runs docs/getting-started.md on a fresh clone of the last commit: every command of its blocks, unchanged and in order, up to
# the section "Without Docker". It has the same requirements as the page, and needs port 8081.
exec 0</dev/null
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/backupgram-walk.XXXXXX")
clean_up() {
    if [ -d "$work/backupgram/examples" ]; then
        (cd "$work/backupgram/examples" && COMPOSE_FILE=docker-compose.rest-api.yml docker compose down --volumes) || :
    fi >/dev/null 2>&1
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The clone is made from this directory, whatever its owner: the last commit may not have been published yet.
export GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0="url.$root.insteadOf" GIT_CONFIG_KEY_1=safe.directory GIT_CONFIG_VALUE_1='*'
export GIT_CONFIG_VALUE_0=https://github.com/ganiyevuz/backupgram

awk '/^## Without Docker/ { exit } /^```$/ { inside = 0 } inside { print } /^```sh/ { inside = 1 }' \
    "$root/docs/getting-started.md" >"$work/page"
cd "$work"
sh -euv page >said 2>&1 || { cat said && exit 1; }
cat said
# Printed after each of the two restores.
[ "$(grep -c '^ *1000$' said)" -eq 2 ] || { echo 'the restored tables do not have 1000 rows' && exit 1; }
