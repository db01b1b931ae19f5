#!/bin/sh
# Tests the settings for Telegram; `backupgram help telegram` lists the arguments.
exec backupgram telegram "$@"
