#!/bin/sh
# What docs/getting-started.md asks of Docker, by podman and podman-compose. image-test.sh calls it `docker`, and says by
# the environment where things are.
set -eu
# shellcheck source-path=SCRIPTDIR source=containers.sh
. "$BACKUPGRAM_ROOT/scripts/lib/containers.sh"
work=$BACKUPGRAM_CONTAINERS

compose() {
    "$BACKUPGRAM_PYTHON" -m podman_compose --in-pod=false "$@"
}

healthy() {
    podman healthcheck run "$1" >/dev/null 2>&1
}

# wait_for CONTAINER: as `docker compose up --wait` does, for a minute.
wait_for() {
    tries=0
    until healthy "$1"; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || { podman logs "$1" && exit 1; }
        sleep 0.2
    done
}

case "$1 ${2-} ${3-} ${4-}" in
"build -t ${3-} .") build_image . "$3" ;;
'compose up -d --wait')
    compose up -d
    for container in $(podman ps --format '{{.Names}}' --filter label=com.docker.compose.project=examples); do
        wait_for "$container"
    done
    ;;
'compose exec -T '* | 'compose down --volumes ')
    shift
    compose "$@"
    ;;
*) echo "docker $*: there is no stand-in for that" >&2 && exit 1 ;;
esac
