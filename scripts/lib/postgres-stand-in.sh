#!/bin/sh
# As much of the entry point of PostgreSQL's official image as the examples use.
set -eu
data=/var/lib/postgresql/data/pgdata
as_server() {
    setpriv --reuid=postgres --regid=postgres --clear-groups "$@"
}
if [ ! -e "$data" ]; then
    mkdir -p "$data" && chown postgres: "$data"
    cp "$POSTGRES_PASSWORD_FILE" /tmp/password && chown postgres: /tmp/password
    as_server initdb -D "$data" -U "$POSTGRES_USER" --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256
    echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB;" | as_server postgres --single -D "$data" postgres
fi
# Where psql looks for the socket.
install -d -o postgres -g postgres /var/run/postgresql
exec setpriv --reuid=postgres --regid=postgres --clear-groups postgres -D "$data" -c 'listen_addresses=*' -c fsync=off
