# shellcheck shell=sh
# Sourced by the scripts: finds the programs they need, and installs those that are missing.

apt_wanted=''
apk_wanted=''

have() {
    command -v "$1" >/dev/null 2>&1
}

# want APT_PACKAGES APK_PACKAGES: remembers what install_wanted is to install.
want() {
    apt_wanted="$apt_wanted $1"
    apk_wanted="$apk_wanted $2"
}

# Prints the directory of the newest PostgreSQL server's programs; Debian keeps them off PATH.
postgres_bin() {
    for major in 18 17 16 15 14 13; do
        for dir in "/usr/lib/postgresql/$major/bin" "/usr/libexec/postgresql$major" "/usr/pgsql-$major/bin"; do
            if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then
                echo "$dir"
                return 0
            fi
        done
    done
    if have initdb && have postgres; then
        dirname -- "$(command -v initdb)"
        return 0
    fi
    return 1
}

# Installs what was wanted, or says what to type where it may not. Nothing wanted, nothing touched.
install_wanted() {
    [ -n "$apt_wanted" ] || return 0
    if have apt-get; then
        command="apt-get install --yes --no-install-recommends$apt_wanted"
    elif have apk; then
        command="apk add$apk_wanted"
    else
        echo "these are missing, please install them (Debian's names):$apt_wanted" >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "something is missing; as root, please run: $command" >&2
        return 1
    fi
    if have apt-get; then
        install_with_apt
    else
        # shellcheck disable=SC2086 # a list of words
        apk add $apk_wanted
    fi
}

install_with_apt() {
    # Debian's package would otherwise start a server of its own, for good.
    no_cluster=/etc/postgresql-common/createcluster.d/backupgram-no-cluster.conf
    mkdir -p "${no_cluster%/*}"
    echo 'create_main_cluster = false' >"$no_cluster"
    # Nor is the service of another package started, by Debian's own rule (policy-rc.d(8)).
    policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
        policy=''
    else
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    status=0
    # shellcheck disable=SC2086 # a list of words
    {
        apt-get -o DPkg::Lock::Timeout=120 update &&
            apt-get -o DPkg::Lock::Timeout=120 install --yes --no-install-recommends $apt_wanted
    } || status=$?
    rm -f "$no_cluster" ${policy:+"$policy"}
    rmdir "${no_cluster%/*}" 2>/dev/null || :
    return "$status"
}

# rustup puts cargo where a shell that was already open does not look.
find_cargo() {
    have cargo || PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    have cargo || {
        echo 'cargo is missing; please install Rust 1.89 or newer, best with rustup, and run this again' >&2
        return 1
    }
}
