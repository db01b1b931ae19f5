#!/bin/sh
# Makes docs/openapi.json, which the daemon serves, of docs/openapi.yaml, for whoever has changed that. Fails when an
# example there does not keep to its schema. scripts/test.sh installs what it needs.
set -eu
cd "$(dirname -- "$0")/.."
json=$(/var/tmp/backupgram-python/bin/python scripts/lib/openapi.py <docs/openapi.yaml)
printf '%s\n' "$json" >docs/openapi.json
