# shellcheck shell=sh
# Sourced by image-test.sh: images and containers in a directory of their own, and questions to them.

work='' # the directory
log=/dev/null

# Programs that are not there, of those that the test cannot do without.
containers_missing() {
    [ "$(id -u)" -eq 0 ] || echo 'root'
    for program in buildah podman runc debootstrap busybox iptables; do
        have "$program" || echo "$program"
    done
    [ -x /usr/lib/podman/netavark ] || echo netavark
    [ -x /usr/lib/podman/aardvark-dns ] || echo aardvark-dns
}

build() {
    buildah --root "$work/images" --runroot "$work/run" "$@"
}

containers() {
    podman --root "$work/images" --runroot "$work/run" --runtime "$(command -v runc)" "$@"
}

# start NAME OPTION… [IMAGE ARGUMENT…]: the limits are what a machine without CAP_SYS_RESOURCE may give.
start() {
    name=$1
    shift
    containers run --detach --name "$name" --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 "$@" >>"$log" 2>&1 ||
        fail "container $name does not start"
}

# A Debian with PostgreSQL 15, and the same with what builds Rust programs: the cargo and rustc of this machine, and a
# linker. What is built there is static, as it is on Alpine.
make_base_images() {
    debootstrap --variant=minbase bookworm "$work/base"
    printf '#!/bin/sh\nexit 101\n' >"$work/base/usr/sbin/policy-rc.d"
    chmod +x "$work/base/usr/sbin/policy-rc.d"
    mkdir -p "$work/base/etc/postgresql-common/createcluster.d"
    echo 'create_main_cluster = false' >"$work/base/etc/postgresql-common/createcluster.d/none.conf"
    # As in the images of the family.
    echo 'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";' >"$work/base/etc/apt/apt.conf.d/docker-clean"
    cp /etc/resolv.conf "$work/base/etc/resolv.conf"
    chroot "$work/base" sh -ec 'apt-get update
        apt-get install --yes --no-install-recommends -o Dpkg::Options::=--force-unsafe-io \
            postgresql-15 gcc libc6-dev
        apt-get clean'
    base=$(build from scratch)
    build add "$base" "$work/base" /
    build config --env PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$base"
    build config --stop-signal SIGINT --cmd postgres "$base"
    build commit "$base" localhost/base
    build config --env PATH=/root/.cargo/bin:/usr/bin:/bin --env CARGO_HOME=/root/.cargo \
        --env RUSTUP_HOME=/root/.rustup --env CARGO_NET_OFFLINE=true "$base"
    # With a target of its own, as what runs during the build cannot be static.
    host=$(rustc -vV | sed -n 's/^host: //p')
    printf '[build]\ntarget = "%s"\nrustflags = ["-C", "target-feature=+crt-static"]\n%s' "$host" "$1" >"$work/cargo.toml"
    build add "$base" "$work/cargo.toml" /.cargo/config.toml
    build commit --rm "$base" localhost/builder
    rm -rf "$work/base"
}

# make_postgres_image ENTRYPOINT: what the examples call postgres:17.
make_postgres_image() {
    server=$(build from localhost/base)
    build copy "$server" "$1" /entrypoint.sh
    build config --entrypoint '["/entrypoint.sh"]' --cmd '[]' "$server"
    build commit --rm "$server" docker.io/library/postgres:17
}

# For podman that is called without the options of `containers`.
configure_podman() {
    driver=$(containers info --format '{{.Store.GraphDriverName}}')
    printf '[storage]\ndriver = "%s"\ngraphroot = "%s"\nrunroot = "%s"\n' "$driver" "$work/images" "$work/run" >"$work/storage.conf"
    {
        printf '[engine]\nruntime = "runc"\n[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "%s"\n' "$work/networks"
        printf '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
    } >"$work/containers.conf"
    export CONTAINERS_STORAGE_CONF="$work/storage.conf" CONTAINERS_CONF="$work/containers.conf"
}

# build_image DIRECTORY NAME: the real Dockerfile there, on those.
build_image() {
    build bud --layers --isolation chroot --format docker --tag "$2" \
        --build-arg BASE=localhost/base --build-arg BUILDER=localhost/builder \
        --volume "${CARGO_HOME:-$HOME/.cargo}:/root/.cargo:ro" --volume "${RUSTUP_HOME:-$HOME/.rustup}:/root/.rustup:ro" \
        "$1"
}

# until WHAT COMMAND…: asks until it is so, for a minute.
until_so() {
    what=$1
    shift
    tries=0
    until "$@" >>"$log" 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || fail "in a minute it did not come to this: $what"
        sleep 0.2
    done
}

# says NAME TEXT: whether the log of a container has it.
says() {
    containers logs "$1" 2>&1 | grep -qF -- "$2"
}

healthy() {
    containers healthcheck run "$1"
}

unhealthy() {
    ! healthy "$1"
}
