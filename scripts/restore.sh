#!/bin/sh
# Restores a backup; `backupgram help restore` lists the arguments.
exec backupgram restore "$@"
