#!/bin/sh
# Runs a backup now. The schedule, the API and `docker exec` all use this script.
exec backupgram backup "$@"
