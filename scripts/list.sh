#!/bin/sh
# Lists backups; `backupgram help list` lists the arguments.
exec backupgram list "$@"
