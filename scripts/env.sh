#!/bin/sh
# Checks the settings. Run it, or source it: its exit status is the result in both cases.
# check-env must stay the last command, so that its status reaches the caller.
backupgram check-env
