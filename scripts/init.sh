#!/bin/sh
# Starts the container: the HTTP daemon when REST_API_ENABLE is TRUE, else the scheduler alone; or the command that it
# is given, as in `docker run --rm IMAGE backup`.
# Each replaces this shell, so that it gets the signals that stop the container.
set -eu

SCRIPTS_DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
export SCRIPTS_DIR
[ $# -eq 0 ] || exec "$@"

is_true() {
    case $1 in
    [Tt][Rr][Uu][Ee]) return 0 ;;
    *) return 1 ;;
    esac
}

# The daemon checks the settings itself, and starts the scheduler itself.
if is_true "${REST_API_ENABLE:-FALSE}"; then
    exec backupgram-api
fi

case ${VALIDATE_ON_START:-TRUE} in
[Ff][Aa][Ll][Ss][Ee]) ;;
*) "${SCRIPTS_DIR%/}/env.sh" ;;
esac

# Asked for, not read from the environment: an override kept in the volume counts.
schedule=$(backupgram check-env --print SCHEDULE)

set -- -s "${schedule:-@daily}" -p "${HEALTHCHECK_PORT:-8080}"
if is_true "${BACKUP_ON_START:-FALSE}"; then
    set -- "$@" -i
fi
# Beside the scheduler, which does not wait for it: whatever comes of it, backups are made.
backupgram sweep &
# It tells on its port what is wrong in there.
export BACKUP_DIR="${BACKUP_DIR:-/backups}"
exec go-cron "$@" -- "${SCRIPTS_DIR%/}/backup.sh"
