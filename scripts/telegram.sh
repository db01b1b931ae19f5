#!/bin/sh
# Tries the settings for Telegram; `backupgram help telegram` names the arguments.
exec backupgram telegram "$@"
