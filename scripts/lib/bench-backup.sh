# shellcheck shell=sh
# shellcheck disable=SC2016,SC2034,SC2154 # markdown has backticks; variables are shared with what sources this
# Sourced by bench.sh: whole backups beside what pg_dump and a compressor do, in turn, of one database.

rounds_of_backups=5
rounds_of_proofs=3
kinds='pg_dump pigz zstd ours_gzip ours_zstd pg_dump_gpg ours_gpg'

# Where each leaves its file.
dumps=''

benchmark_backup() {
    have pigz || want pigz pigz
    have zstd || want zstd zstd
    have gpg || want gpg gnupg
    postgres_bin >/dev/null || want postgresql 'postgresql postgresql-contrib'
    install_programs
    build
    dumps=$work/dumps passphrase=$(random_hex)
    mkdir -m 700 "$work/gnupg"
    note 'PostgreSQL'
    start_postgres
    fill_database
    for kind in $kinds; do : >"$work/times.$kind"; done
    for round in $(seq "$rounds_of_backups"); do
        for kind in $kinds; do measure_time "$kind" "$round"; done
    done
    for kind in $kinds; do measure_memory "$kind"; done
    measure_proof
    print_machine ", PostgreSQL $(psql -XAtqc 'show server_version' bench)"
    print_backups
}

# As much that compresses well as pgbench makes, and a table of which base64 leaves a quarter to win.
fill_database() {
    note 'the database'
    createdb bench
    pgbench -i -q -s 40 bench >"$log" 2>&1 || fail 'pgbench failed'
    psql -Xqd bench >"$log" 2>&1 <<'SQL' || fail 'the database cannot be filled'
create table noise as
    select row, string_agg(encode(sha256((row || '/' || part)::text::bytea), 'base64'), '') as text
    from generate_series(1, 172000) as row, generate_series(1, 23) as part group by row;
alter system set autovacuum = off;
select pg_reload_conf();
vacuum analyze;
checkpoint;
SQL
    database_size=$(psql -XAtqd bench -c "select pg_database_size('bench') / 1000000")
    pg_dump bench >/dev/null # into the cache
}

# title KIND
title() {
    case $1 in
    pg_dump) echo '`pg_dump -Z1 -f`' ;;
    pigz) echo '`pg_dump -Z0 \| pigz -1`' ;;
    zstd) echo '`pg_dump -Z0 \| zstd -1`' ;;
    ours_gzip) echo '`backupgram backup`, `-Z1`' ;;
    ours_zstd) echo '`backupgram backup`, `-Z zstd:1`' ;;
    pg_dump_gpg) echo '`pg_dump -Z1 \| gpg --symmetric`' ;;
    ours_gpg) echo '`backupgram backup`, `-Z1`, `BACKUP_ENCRYPTION_KEY`' ;;
    esac
}

# run_backup KIND: becomes it, in a shell of its own.
run_backup() {
    case $1 in
    pg_dump) exec pg_dump -Z1 -f "$dumps/dump" bench ;;
    pigz) pg_dump -Z0 bench | pigz -1 >"$dumps/dump" ;;
    zstd) pg_dump -Z0 bench | zstd -q -1 >"$dumps/dump" ;;
    pg_dump_gpg)
        echo "$passphrase" >"$work/passphrase"
        pg_dump -Z1 bench | gpg --homedir "$work/gnupg" --batch --quiet --pinentry-mode loopback \
            --passphrase-file "$work/passphrase" --symmetric >"$dumps/dump"
        ;;
    *) exec_ours "$1" backup ;;
    esac
}

# exec_ours KIND COMMAND: one with its arguments, with nothing but these settings; what else your shell exports may be one too.
exec_ours() {
    extra=-Z1 key=''
    case $1 in
    ours_zstd) extra='-Z zstd:1' ;;
    ours_gpg) key=$passphrase ;;
    esac
    # shellcheck disable=SC2086 # a command has arguments
    exec env -i PATH="$target:$PATH" HOME="$work" LANG=C.UTF-8 BACKUP_DIR="$dumps" HOOKS_DIR="$work/hooks" \
        POSTGRES_HOST="$PGHOST" POSTGRES_PORT="$PGPORT" POSTGRES_USER="$PGUSER" POSTGRES_PASSWORD="$PGPASSWORD" \
        POSTGRES_DB=bench POSTGRES_EXTRA_OPTS="$extra" BACKUP_ENCRYPTION_KEY="$key" backupgram $2
}

# Whether this version takes the settings of a kind.
is_there() {
    case $1 in
    ours_*) (exec_ours "$1" check-env) >/dev/null 2>&1 ;;
    esac
}

fresh_dumps() {
    rm -rf "$dumps"
    mkdir "$dumps"
    sync # what the run before has left to be written is not this one's
}

measure_time() {
    is_there "$1" || return 0
    note "$1, $2 of $rounds_of_backups"
    fresh_dumps
    began=$(date +%s%N)
    (run_backup "$1") >"$log" 2>&1 || fail "$1 failed"
    ended=$(date +%s%N)
    calculate "($ended - $began) / 1e9" '%.3f\n' >>"$work/times.$1"
    find "$dumps" -type f -size +1000k -exec wc -c {} + | awk 'NR == 1 { print $1 }' >"$work/size.$1"
}

# One more run, as looking takes time. Peaks of the process that was started, and the sum with those of its children.
measure_memory() {
    is_there "$1" || return 0
    note "memory of $1"
    fresh_dumps
    (run_backup "$1") >"$log" 2>&1 &
    running=$!
    : >"$work/peaks"
    while kill -s 0 "$running" 2>/dev/null; do
        for pid in "$running" $(pgrep -P "$running" || :); do
            peak=$(memory VmHWM "$pid" 2>/dev/null || :)
            [ -z "$peak" ] || echo "$pid $peak" >>"$work/peaks"
        done
        sleep 0.05
    done
    wait "$running" || fail "$1 failed"
    own=$(awk -v own="$running" '$1 == own && $2 > peak { peak = $2 } END { print peak + 0 }' "$work/peaks")
    all=$(awk '$2 > of[$1] { of[$1] = $2 } END { for (pid in of) sum += of[pid]; print sum + 0 }' "$work/peaks")
    running=''
    echo "$own $all" >"$work/memory.$1"
}

# A restore proof, and the most that it takes on the disk besides the backup.
measure_proof() {
    fresh_dumps
    (exec_ours ours_gzip backup) >"$log" 2>&1 || fail 'the backup failed'
    : >"$work/times.proof"
    : >"$work/sizes.proof"
    for round in $(seq "$rounds_of_proofs"); do
        note "proof, $round of $rounds_of_proofs"
        began=$(date +%s%N)
        (exec_ours ours_gzip 'verify --restore last/bench-latest.sql.gz') >"$log" 2>&1 &
        running=$!
        while kill -s 0 "$running" 2>/dev/null; do
            du -sk "$dumps/.partial" 2>/dev/null | cut -f1 >>"$work/sizes.proof" || :
            sleep 0.2
        done
        wait "$running" || fail 'the proof failed'
        running=''
        calculate "($(date +%s%N) - $began) / 1e9" '%.3f\n' >>"$work/times.proof"
    done
}

# reached CONDITION
reached() {
    if [ "$(calculate "$1" %d)" -eq 1 ]; then echo yes; else echo '**no**'; fi
}

print_backups() {
    echo "A database of $database_size MB, $rounds_of_backups runs each in turn."
    echo
    echo '| Backup | Median | Least to most | Of `pg_dump -Z1 -f` | File | Peak memory | With children |'
    echo '| --- | --- | --- | --- | --- | --- | --- |'
    bare=$(median 1 "$work/times.pg_dump")
    for kind in $kinds; do
        if [ ! -s "$work/times.$kind" ]; then
            printf '| %s | not yet | | | | | |\n' "$(title "$kind")"
            continue
        fi
        took=$(median 1 "$work/times.$kind")
        read -r own all <"$work/memory.$kind"
        # A shell that only holds a pipe together is nobody's memory.
        case $kind in pigz | zstd | pg_dump_gpg) own='' ;; *) own=$(mebi "$own") ;; esac
        printf '| %s | %s | %s | %s | %s | %s | %s |\n' "$(title "$kind")" "$(calculate "$took" '%.2f s')" \
            "$(sort -n "$work/times.$kind" | awk 'NR == 1 { least = $1 } { most = $1 }
                END { printf "%.2f to %.2f s", least, most }')" \
            "$(calculate "$took / $bare")" "$(mebi "$(($(cat "$work/size.$kind") / 1024))")" "$own" "$(mebi "$all")"
    done
    print_goals
    echo
    printf 'A restore proof of the gzip backup, with pg_amcheck: %s, median of %s; at most %s on the disk meanwhile.\n' \
        "$(calculate "$(median 1 "$work/times.proof")" '%.1f s')" "$rounds_of_proofs" \
        "$(mebi "$(sort -n "$work/sizes.proof" | tail -n 1)")"
}

print_goals() {
    ours=$(median 1 "$work/times.ours_gzip")
    echo
    echo '| Goal | Measured | Reached |'
    echo '| --- | --- | --- |'
    printf '| gzip, checked and published, at most 0.85 of `pg_dump -Z1 -f` | %s | %s |\n' \
        "$(calculate "$ours / $bare")" "$(reached "$ours <= 0.85 * $bare")"
    if [ -s "$work/times.ours_gpg" ]; then
        encrypted=$(median 1 "$work/times.ours_gpg") theirs=$(median 1 "$work/times.pg_dump_gpg")
        printf '| encrypted, at most `pg_dump -Z1 \\| gpg` | %s of it | %s |\n' "$(calculate "$encrypted / $theirs")" \
            "$(reached "$encrypted <= $theirs")"
    fi
    most=$(cat "$work"/memory.ours_* | cut -d' ' -f1 | sort -n | tail -n 1)
    printf '| memory of our process under 32 MiB | %s | %s |\n' "$(mebi "$most")" "$(reached "$most < 32 * 1024")"
}
