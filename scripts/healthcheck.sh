#!/bin/sh
# Says in one line whether the last scheduled run succeeded, and exits 0 or 1.
set -u
url="http://127.0.0.1:${HEALTHCHECK_PORT:-8080}/"

# The scheduler answers 503 when its last run failed, so the status is all that matters.
if code=$(curl --silent --noproxy '*' --output /dev/null --max-time 5 --write-out '%{http_code}' "$url"); then
    case $code in
    200)
        echo 'healthy'
        exit 0
        ;;
    503) echo 'unhealthy: the last scheduled run failed' ;;
    *) echo "unhealthy: the scheduler answered $code" ;;
    esac
else
    echo "unhealthy: the scheduler does not answer at $url"
fi
exit 1
