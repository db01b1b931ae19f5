#!/bin/sh
# Verifies backups; `backupgram help verify` names the arguments.
exec backupgram verify "$@"
