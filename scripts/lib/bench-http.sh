# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # variables are shared with what sources this
# Sourced by bench.sh: the daemon beside nginx on loopback, both measured in turn.

rounds=3     # of everything but downloads; the medians are shown
downloads=7  # they differ by more from one to the next
seconds=2    # of each run of wrk
mebibytes=2048
programs='backupgram-api backupgram go-cron'

# with_settings COMMAND…: nothing but these; what else your shell exports may be a setting too.
with_settings() {
    env -i PATH="$target:$PATH" HOME="$work" LANG=C.UTF-8 SCRIPTS_DIR="$root/scripts" \
        BACKUP_DIR="$backups" HOOKS_DIR="$work/hooks" HEALTHCHECK_PORT="$health_port" \
        POSTGRES_HOST="$PGHOST" POSTGRES_PORT="$PGPORT" POSTGRES_USER="$PGUSER" POSTGRES_PASSWORD="$PGPASSWORD" \
        POSTGRES_DB=postgres REST_API_ENABLE=TRUE REST_API_BIND=127.0.0.1 REST_API_PORT="$port" \
        REST_API_TOKEN="$token" "$@"
}

# until_answered URL: waits for a server that has just been started.
until_answered() {
    tries=0
    until curl -sf -o /dev/null "$1"; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || fail "$1 does not answer"
        sleep 0.1
    done
}

start_daemon() {
    log=$work/daemon.log
    # shellcheck disable=SC2016 # that shell's process id, which becomes the daemon's
    with_settings sh -c 'echo $$ >"$HOME/pid"; exec backupgram-api' >"$log" 2>&1 &
    running=$!
    until_answered "$url/healthz"
    daemon=$(cat "$work/pid") running=''
}

start_nginx() {
    mkdir "$work/nginx"
    cat >"$work/nginx/conf" <<TEXT
daemon off;
pid $work/nginx/pid;
user $(id -un);
worker_processes auto;
events { worker_connections 512; }
http {
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_body_temp_path $work/nginx/body;
    proxy_temp_path $work/nginx/proxy;
    fastcgi_temp_path $work/nginx/fastcgi;
    uwsgi_temp_path $work/nginx/uwsgi;
    scgi_temp_path $work/nginx/scgi;
    server {
        listen 127.0.0.1:$nginx_port;
        location = /healthz {
            default_type application/json;
            return 200 '{"status":"ok"}\n';
        }
        location / { root $backups; }
    }
}
TEXT
    nginx -e "$work/nginx/log" -p "$work/nginx" -c "$work/nginx/conf" >"$work/nginx/output" 2>&1 &
    nginx=$!
    until_answered "http://127.0.0.1:$nginx_port/healthz"
}

# load CONNECTIONS URL [SECONDS]: prints requests a second, the 50th, 90th and 99th percentile in microseconds, and
# how many requests failed.
load() {
    threads=2
    [ "$1" -gt 1 ] || threads=1
    wrk -t "$threads" -c "$1" -d "${3:-$seconds}s" --timeout 30s -s "$work/report.lua" \
        -H "Authorization: Bearer $token" "$2" | sed -n 's/^report //p'
}

write_report() {
    cat >"$work/report.lua" <<'TEXT'
done = function(summary, latency)
    local e = summary.errors
    print(string.format("report %.0f %d %d %d %d", summary.requests / summary.duration * 1e6,
        latency:percentile(50), latency:percentile(90), latency:percentile(99),
        e.connect + e.read + e.write + e.status + e.timeout))
end
TEXT
}

milliseconds() {
    calculate "$1 / 1000" '%.2f ms'
}

# Starts and stops the daemon again and again. In Perl, as a shell that starts curl takes longer than what it waits for.
measure_ready() {
    note 'start-up'
    # shellcheck disable=SC2016 # Perl's variables
    with_settings perl -MIO::Socket::INET -MTime::HiRes=time,sleep -e '
        my ($port, $log) = @ARGV;
        my $pid;
        $SIG{$_} = sub { kill "TERM", $pid if $pid; exit 1 } for qw(INT TERM HUP);
        for (1 .. 15) {
            my $begun = time;
            $pid = fork // die;
            if (!$pid) {
                open STDOUT, ">>", $log;
                open STDERR, ">&", STDOUT;
                exec "backupgram-api" or die;
            }
            my $answer = "";
            while ($answer !~ /^HTTP\/1.1 200 / && time - $begun < 10) {
                my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port) or sleep(0.0002), next;
                print $socket "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
                $answer = <$socket> // "";
            }
            printf "%.0f\n", (time - $begun) * 1e6;
            kill "TERM", $pid;
            waitpid $pid, 0;
        }' "$port" "$log" >"$work/ready" || fail 'the daemon does not start again and again'
    ready=$(median 1 "$work/ready")
    row 'start until /healthz answers, median of 15' \
        "$(milliseconds "$ready") ($(sort -n "$work/ready" | sed -n '1p;$p' | paste -s -d- | sed 's/-/ to /') µs)" \
        'under 30 ms' "$ready < 30000"
}

measure_idle() {
    note 'idle memory'
    curl -s -o /dev/null -H "Authorization: Bearer $token" "$url/status"
    sleep 2
    idle=$(memory VmRSS "$daemon")
    row 'memory of the daemon, idle (VmRSS)' "$(mebi "$idle")" 'under 5 MiB' "$idle < 5 * 1024"
    scheduler=$(pgrep -P "$daemon" -x go-cron || :)
    [ -z "$scheduler" ] || row 'memory of go-cron, idle (VmRSS)' "$(mebi "$(memory VmRSS "$scheduler")")"
}

measure_probes() {
    for connections in 1 16 64; do
        note "/healthz and /status, $connections connections"
        for _ in $(seq "$rounds"); do
            ours=$(load "$connections" "$url/healthz")
            theirs=$(load "$connections" "http://127.0.0.1:$nginx_port/healthz")
            echo "$ours $theirs $(calculate "${ours%% *} / ${theirs%% *}" %.3f)"
        done >"$work/healthz.$connections"
        for _ in $(seq "$rounds"); do load "$connections" "$url/status"; done >"$work/status.$connections"
    done
    for connections in 1 16 64; do
        runs=$work/healthz.$connections
        ratio=$(median 11 "$runs")
        row "/healthz, $connections connections" \
            "$ratio of nginx's \`return 200\` ($(median 1 "$runs") and $(median 6 "$runs") requests/s); $(latencies "$runs")" \
            'at least 0.5 of nginx' "$ratio >= 0.5"
    done
    for connections in 1 16 64; do
        runs=$work/status.$connections
        goal='' condition=''
        if [ "$connections" -eq 16 ]; then goal='p99 under 5 ms' condition="$(median 4 "$runs") < 5000"; fi
        row "/status, $connections connections" "$(median 1 "$runs") requests/s; $(latencies "$runs")" "$goal" "$condition"
    done
    row 'memory of the daemon after that, at most (VmHWM)' "$(mebi "$(memory VmHWM "$daemon")")"
}

# latencies FILE: of runs of load.
latencies() {
    failures=$(awk '{ sum += $5 } END { print sum + 0 }' "$1")
    printf 'p50 %s, p90 %s, p99 %s' "$(milliseconds "$(median 2 "$1")")" "$(milliseconds "$(median 3 "$1")")" \
        "$(milliseconds "$(median 4 "$1")")"
    [ "$failures" -eq 0 ] || printf ', **%s failed**' "$failures"
}

# download HOW_MANY URL: prints the mebibytes a second of all together.
download() {
    began=$(date +%s%N)
    pids=''
    for _ in $(seq "$1"); do
        curl -sf -o /dev/null -H "Authorization: Bearer $token" "$2" &
        pids="$pids $!"
    done
    for pid in $pids; do wait "$pid" || fail "the download of $2 failed"; done
    calculate "$1 * $mebibytes / ($(date +%s%N) - $began) * 1e9" %.0f
}

measure_downloads() {
    file=last/bench-20260416-143000.sql.gz
    dd if=/dev/zero of="$backups/$file" bs=1M count="$mebibytes" 2>/dev/null
    for count in 1 4; do
        note "$count downloads of 2 GiB at once"
        goal='' condition=''
        for _ in $(seq "$downloads"); do
            ours=$(download "$count" "$url/backups/$file")
            theirs=$(download "$count" "http://127.0.0.1:$nginx_port/$file")
            echo "$ours $theirs $(calculate "$ours / $theirs" %.3f)"
        done >"$work/downloads"
        ratio=$(median 3 "$work/downloads")
        if [ "$count" -eq 1 ]; then goal='at least 0.95 of nginx' condition="$ratio >= 0.95"; fi
        row "2 GiB downloaded by curl, $count at once" \
            "$ratio of nginx ($(median 1 "$work/downloads") and $(median 2 "$work/downloads") MiB/s)" "$goal" "$condition"
    done
    rm "$backups/$file"
}

measure_during_backup() {
    note '/status during a backup'
    if [ "$PGPORT" -eq 1 ]; then
        row '/status during a backup' 'skipped: no PostgreSQL server is installed here'
        return 0
    fi
    psql -Xqd postgres -c "create table filling as
        select n, md5(n::text) || md5((n + 1)::text) as text from generate_series(1, 12000000) as n"
    job=$(curl -sf -X POST -H "Authorization: Bearer $token" "$url/backup" | sed 's/.*"job_id":"\([^"]*\)".*/\1/')
    load 16 "$url/status" 5 >"$work/busy"
    curl -sf -H "Authorization: Bearer $token" "$url/jobs/$job" >"$work/job"
    grep -q '"state":"running"' "$work/job" || fail "the backup was not running all the while: $(cat "$work/job")"
    row '/status during a backup, 16 connections' "$(cut -d' ' -f1 "$work/busy") requests/s; $(latencies "$work/busy")"
    curl -sf -o /dev/null -X DELETE -H "Authorization: Bearer $token" "$url/jobs/$job"
    tries=0
    while [ -n "$(find "$backups/.partial" -type f)" ] && [ "$tries" -lt 100 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
}

# Waits until the daemon has used no processor time for half a second.
until_idle() {
    used=-1 tries=0
    while [ "$used" != "$(processor_time)" ] && [ "$tries" -lt 60 ]; do
        used=$(processor_time) tries=$((tries + 1))
        sleep 0.5
    done
}

processor_time() {
    cut -d' ' -f14,15 "/proc/$daemon/stat"
}

# fill FROM BELOW: backups with manifests, numbered so.
fill() {
    awk -v from="$1" -v below="$2" -v slot="$backups/last/" 'BEGIN {
        for (n = from; n < below; n++) {
            name = sprintf("app-20260416-%02d%02d%02d.sql.gz", n / 3600, n / 60 % 60, n % 60)
            printf "%d\n", n >slot name
            close(slot name)
            manifest = slot "." name ".json"
            printf "{\n  \"sha256\": \"%064x\",\n  \"size\": %d,\n  \"database\": \"app\",\n  \"format\": \"gzip\",\n" \
                "  \"encrypted\": false,\n  \"server_version\": \"15.14\",\n  \"tool_version\": \"15.14\",\n" \
                "  \"created_at\": %d,\n  \"duration_seconds\": 1.25\n}\n", n, length(n) + 1, 1776348000 + n >manifest
            close(manifest)
        }
    }'
}

measure_listings() {
    before=0
    for files in 10 1000 10000; do
        fill "$before" "$files"
        before=$files
        row "/backups of $files files, once, as they have just been written" \
            "$(curl -s -o /dev/null -w '%{time_total}' -H "Authorization: Bearer $token" "$url/backups" |
                awk '{ printf "%.2f ms", $1 * 1000 }')"
        for connections in 1 16 64; do
            note "/backups of $files files, $connections connections"
            for _ in $(seq "$rounds"); do
                load "$connections" "$url/backups"
                # What wrk gave up on when its time was over is answered first.
                until_idle
            done >"$work/list"
            goal='' condition=''
            if [ "$files $connections" = '10000 1' ]; then
                goal='p50 under 150 ms' condition="$(median 2 "$work/list") < 150000"
            fi
            row "/backups of $files files, $connections connections" \
                "$(median 1 "$work/list") requests/s; $(latencies "$work/list")" "$goal" "$condition"
        done
    done
    row 'memory of the daemon after that, at most (VmHWM)' "$(mebi "$(memory VmHWM "$daemon")")"
    sleep 2
    row 'memory of the daemon after that, at rest (VmRSS)' "$(mebi "$(memory VmRSS "$daemon")")"
}

measure_sizes() {
    for program in $programs; do
        row "size of \`$program\`" "$(mebi "$(($(wc -c <"$target/$program") / 1024))")"
    done
}

benchmark_http() {
    export no_proxy=127.0.0.1
    have wrk || want wrk wrk
    have curl || want curl curl
    have perl || want perl perl
    have nginx || [ -x /usr/sbin/nginx ] || want nginx nginx
    install_programs
    build
    if postgres_bin >/dev/null && have psql; then
        note 'PostgreSQL'
        start_postgres
    else
        PGHOST=127.0.0.1 PGPORT=1 PGUSER=postgres PGPASSWORD=none
    fi
    token=$(random_hex) port=$(free_port) health_port=$(free_port) nginx_port=$(free_port)
    url=http://127.0.0.1:$port
    write_report
    measure_ready
    start_daemon
    start_nginx
    measure_idle
    measure_probes
    measure_downloads
    measure_during_backup
    measure_listings
    measure_sizes
    print_machine ", $(nginx -v 2>&1 | sed 's/.*: //')"
    echo '| What | Measured | Goal | Reached |'
    echo '| --- | --- | --- | --- |'
    cat "$work/table"
}
