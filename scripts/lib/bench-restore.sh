# shellcheck shell=sh
# shellcheck disable=SC2016,SC2034,SC2154 # markdown has backticks; variables are shared with what sources this
# Sourced by bench.sh: whole restores beside those of psql and pg_restore, ours and theirs in turn, from the same files.

rounds_of_restores=${BENCH_ROUNDS:-5}
restore_share=${BENCH_SHARE:-100} # per cent of the data, to try it out
cases='pgbench-plain pgbench-custom jsonb-plain jsonb-custom'

benchmark_restore() {
    postgres_bin >/dev/null || want postgresql 'postgresql postgresql-contrib'
    install_programs
    build
    jobs=$(nproc)
    note 'PostgreSQL'
    start_postgres
    psql -Xqd postgres -c 'alter system set autovacuum = off' -c "alter system set max_wal_size = '4GB'" \
        -c 'select pg_reload_conf()' >"$log" 2>&1 || fail 'the server cannot be set up'
    fill_pgbench
    fill_jsonb
    for case in $cases; do back_up_case "$case"; done
    for round in $(seq "$rounds_of_restores"); do
        for case in $cases; do
            time_restore ours "$case"
            time_restore stock "$case"
            paste -d' ' "$work/last.ours" "$work/last.stock" >>"$work/pairs.$case"
        done
    done
    print_machine ", PostgreSQL $(psql -XAtqc 'show server_version' postgres)"
    print_restores
}

fill_pgbench() {
    note 'the database of pgbench'
    createdb pgbench
    pgbench -i -q -s "$((40 * restore_share / 100))" pgbench >"$log" 2>&1 || fail 'pgbench failed'
}

# Documents with keys that all of them have, values that few have, and a text that nobody has twice.
fill_jsonb() {
    note 'the database of jsonb'
    createdb jsonb
    psql -Xqd jsonb -v rows="$((3900 * restore_share))" >"$log" 2>&1 <<'SQL' || fail 'the database cannot be filled'
create table documents as
    select i as id, jsonb_build_object('customer', i % 5000, 'name', 'customer ' || i % 5000, 'paid', i % 3 = 0,
        'tags', jsonb_build_array('tag ' || i % 17, 'tag ' || i % 101), 'at', '2024-01-01'::date + i % 1000,
        'address', jsonb_build_object('city', 'city ' || i % 300, 'street', md5((i % 20000)::text)),
        'note', (select string_agg(md5((i || '/' || part)::text), ' ') from generate_series(1, 20) as part)) as document
    from generate_series(1, :rows) as i;
alter table documents add primary key (id);
create index on documents using gin (document);
SQL
}

# with_case CASE COMMAND…: ours, with nothing but these settings; what else your shell exports may be one too.
with_case() {
    options=-Z1
    case $1 in *-custom) options=-Fc ;; esac
    of=$1
    shift
    env -i PATH="$target:$PATH" HOME="$work" LANG=C.UTF-8 BACKUP_DIR="$backups/$of" HOOKS_DIR="$work/hooks" \
        POSTGRES_HOST="$PGHOST" POSTGRES_PORT="$PGPORT" POSTGRES_USER="$PGUSER" POSTGRES_PASSWORD="$PGPASSWORD" \
        POSTGRES_DB="${of%-*}" POSTGRES_EXTRA_OPTS="$options" backupgram "$@"
}

back_up_case() {
    note "the backup of $1"
    mkdir "$backups/$1"
    with_case "$1" backup >"$log" 2>&1 || fail 'the backup failed'
    file=$(cd "$backups/$1/last" && ls -d "${1%-*}"-2*)
    ln -s "$backups/$1/last/$file" "$work/file.$1"
}

# The database is made by psql's and pg_restore's user, too, so that counts.
run_stock() {
    createdb -T template0 restored || return 1
    case $1 in
    *-plain) gunzip -c "$work/file.$1" | psql -Xq -v ON_ERROR_STOP=1 -d restored ;;
    *) pg_restore --exit-on-error -j "$jobs" -d restored "$work/file.$1" ;;
    esac
}

run_restore() {
    case $1 in
    ours) with_case "$2" restore --yes "last/$(basename -- "$(readlink "$work/file.$2")")" restored ;;
    *) run_stock "$2" ;;
    esac
}

# time_restore ours|stock CASE: into no database, of which the cache has the file.
time_restore() {
    note "$2 by $1, $round of $rounds_of_restores"
    psql -Xqd postgres -c 'drop database if exists restored' -c checkpoint >"$log" 2>&1 || fail 'the server does not answer'
    sync # what the run before has left to be written is not this one's
    cat "$work/file.$2" >/dev/null
    began=$(date +%s%N)
    run_restore "$1" "$2" >"$log" 2>&1 || fail "the restore of $2 by $1 failed"
    calculate "($(date +%s%N) - $began) / 1e9" '%.3f\n' >"$work/last.$1"
}

# restore_title CASE
restore_title() {
    case $1 in
    *-plain) echo "${1%-*}, SQL by \`gunzip -c \\| psql\`" ;;
    *) echo "${1%-*}, \`-Fc\` by \`pg_restore -j $jobs\`" ;;
    esac
}

print_restores() {
    printf 'Databases of %s MB (pgbench) and %s MB (jsonb), %s pairs each in turn.\n\n' \
        "$(psql -XAtqd postgres -c "select pg_database_size('pgbench') / 1000000")" \
        "$(psql -XAtqd postgres -c "select pg_database_size('jsonb') / 1000000")" "$rounds_of_restores"
    echo '| Restore beside | Ours, median | Stock, median | Ratio, median of the pairs | Least to most | At most 1.05 |'
    echo '| --- | --- | --- | --- | --- | --- |'
    for case in $cases; do
        awk '{ printf "%.3f\n", $1 / $2 }' "$work/pairs.$case" | sort -n >"$work/ratios"
        ratio=$(median 1 "$work/ratios")
        printf '| %s | %s | %s | %s | %s | %s |\n' "$(restore_title "$case")" \
            "$(calculate "$(median 1 "$work/pairs.$case")" '%.2f s')" \
            "$(calculate "$(median 2 "$work/pairs.$case")" '%.2f s')" "$(calculate "$ratio")" \
            "$(awk 'NR == 1 { least = $1 } { most = $1 } END { printf "%.2f to %.2f", least, most }' "$work/ratios")" \
            "$(reached "$ratio <= 1.05")"
    done
}
