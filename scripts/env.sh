#!/bin/sh
# Checks the settings. Run it, or source it: its status is the answer either way.
# Last command on purpose, so that nothing stands between check-env and the caller.
backupgram check-env
