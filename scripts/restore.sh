#!/bin/sh
# Restores a backup; `backupgram help` names the arguments.
exec backupgram restore "$@"
