#!/bin/sh
# Starts the container: the HTTP daemon if REST_API_ENABLE is TRUE, otherwise only the scheduler; or the given command,
# as in `docker run --rm IMAGE backup`. Each replaces this shell, so that it receives the container's stop signals.
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

# The daemon itself checks the settings and starts the scheduler.
if is_true "${REST_API_ENABLE:-FALSE}"; then
    exec backupgram-api
fi

case ${VALIDATE_ON_START:-TRUE} in
[Ff][Aa][Ll][Ss][Ee]) ;;
*) "${SCRIPTS_DIR%/}/env.sh" ;;
esac

# Not read from the environment, because an override on the volume takes precedence.
schedule=$(backupgram check-env --print SCHEDULE)

set -- -s "${schedule:-@daily}" -p "${HEALTHCHECK_PORT:-8080}"
if is_true "${BACKUP_ON_START:-FALSE}"; then
    set -- "$@" -i
fi
# In the background: the scheduler does not wait for the sweep, and runs backups whatever its result.
backupgram sweep &
# The scheduler reports problems of this directory on its port.
export BACKUP_DIR="${BACKUP_DIR:-/backups}"
exec go-cron "$@" -- "${SCRIPTS_DIR%/}/backup.sh"
