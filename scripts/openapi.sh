#!/bin/sh
# Generates docs/openapi.json, which the daemon serves, from docs/openapi.yaml. Run it after changing the YAML. Fails if an
# example does not match its schema. scripts/test.sh installs the required programs.
set -eu
cd "$(dirname -- "$0")/.."
json=$(/var/tmp/backupgram-python/bin/python scripts/lib/openapi.py <docs/openapi.yaml)
printf '%s\n' "$json" >docs/openapi.json
