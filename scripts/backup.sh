#!/bin/sh
# Backs up now. The schedule, the API and `docker exec` all come through here.
exec backupgram backup "$@"
