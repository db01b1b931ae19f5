#!/bin/sh
exec backupgram health "$@"
