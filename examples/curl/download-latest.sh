#!/bin/sh
# Downloads the newest backup of a database into the current directory and verifies its checksum. Run it again to resume an
# interrupted download. Prints the name of the file. Needs curl 7.76, jq and sha256sum.
#
#   REST_API_TOKEN=… ./download-latest.sh DATABASE
#
# URL is the address of the API, by default http://127.0.0.1:8081.
set -eu

url=${URL:-http://127.0.0.1:8081}
: "${REST_API_TOKEN:?is not set}"
database=${1:?names no database}

# The token is passed to curl on a pipe, because all users of the machine can read arguments.
ask() {
    printf 'Authorization: Bearer %s\n' "$REST_API_TOKEN" | curl -sS -H @- "$@"
}

list=$(ask --fail-with-body -G --data-urlencode "database=$database" "$url/backups?slot=last") || {
    echo "$list" >&2
    exit 1
}
newest=$(printf '%s\n' "$list" | jq -c '[.backups[] | select(.alias_of == null)][0]')
[ "$newest" != null ] || { echo "there is no backup of $database" >&2 && exit 1; }
of_newest() {
    printf '%s\n' "$newest" | jq -r "$1"
}
name=$(of_newest .name) path=$(of_newest '.name | @uri') size=$(of_newest .size) sum=$(of_newest '.sha256 // ""')

free() {
    [ ! -e "./$1" ] || { printf '%s is here already\n' "$1" >&2 && exit 1; }
}

# A dump in directory format is sent as a tar archive made on the fly: it has no ETag and no checksum, and cannot be
# resumed.
head=$(ask -f -I "$url/backups/last/$path")
if ! printf '%s\n' "$head" | grep -qi '^etag:'; then
    free "$name.tar"
    ask -f -o "./$name.tar.part" "$url/backups/last/$path"
    mv "./$name.tar.part" "./$name.tar"
    printf '%s\n' "$name.tar"
    exit
fi

free "$name"
have=0
[ ! -e "./$name.part" ] || have=$(wc -c <"./$name.part")
# A longer file may be from another backup of that name.
[ "$have" -le "$size" ] || rm "./$name.part"
[ "$have" -eq "$size" ] || ask -f -C - -o "./$name.part" "$url/backups/last/$path"
# From standard input, because sha256sum prints names with a backslash differently.
if [ -n "$sum" ] && [ "$(sha256sum <"./$name.part")" != "$sum  -" ]; then
    rm "./$name.part"
    printf '%s is not what the API has listed; what was downloaded is removed\n' "$name" >&2
    exit 1
fi
mv "./$name.part" "./$name"
printf '%s\n' "$name"
