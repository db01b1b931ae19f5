#!/bin/sh
# Lists backups; `backupgram help list` names the arguments.
exec backupgram list "$@"
