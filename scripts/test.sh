#!/bin/sh
# All checks in one command: installs missing programs, checks the style, runs the tests.
# Arguments go to cargo test, so `scripts/test.sh restore` runs the tests with "restore" in their name.
# `scripts/test.sh quick` needs no root and one version of PostgreSQL, and takes less than a minute once it is built.
exec 0</dev/null
set -u

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
cd "$root" || exit 1
# shellcheck source=scripts/lib/install.sh
. scripts/lib/install.sh
# shellcheck source=scripts/lib/test-programs.sh
. scripts/lib/test-programs.sh

work=$(mktemp -d "${TMPDIR:-/tmp}/backupgram-test.XXXXXX") || exit 1
image=''
trap 'rm -rf "$work"; [ -z "$image" ] || kill "$image" 2>/dev/null || :' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
failed='' begun=$(date +%s)

headline() {
    printf '\n== %s\n' "$1"
    began=$(date +%s)
}

seconds() {
    echo "$(($(date +%s) - began)) s"
}

# step NAME COMMAND…: shows the output only on failure.
step() {
    name=$1
    shift
    headline "$name"
    if "$@" >"$work/log" 2>&1; then
        echo "ok, $(seconds)"
    else
        cat "$work/log"
        echo "FAILED: $name, $(seconds)"
        failed="$failed, $name"
        return 1
    fi
}

# The tests mostly wait for servers, signals and time, so three run per processor.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((3 * $(nproc)))}"

# run_tests NAME ARGUMENTS…: not through step, so that the tests can be watched; cargo's last lines name the failures.
run_tests() {
    name=$1
    shift
    headline "$name"
    rm -f "$work/failed"
    { cargo test --locked --no-fail-fast "$@" 2>&1 || echo failed >"$work/failed"; } | tee -a "$work/tests"
    seconds
    [ ! -e "$work/failed" ] || failed="$failed, $name"
}

# The tests whose crowds need the whole machine, as they ask how soon others are answered, run after the others.
run_crowds() {
    RUST_TEST_THREADS=1 run_tests 'tests with crowds' --test e2e -- siege:: a_crowd_that_guesses
}

# In parallel with the tests, which mostly wait. The image is tested only in a run without arguments.
start_image() {
    nice -n 10 scripts/image-test.sh --quick >"$work/image" 2>&1 &
    image=$!
}

join_image() {
    headline 'image'
    if wait "$image"; then
        grep -E ' s: ok|^SKIPPED' "$work/image"
    else
        cat "$work/image"
        failed="$failed, image"
    fi
    image=''
    seconds
}

quick='seed_examples:: settings:: catalog:: cleanup:: history:: health:: columns:: webhooks::'
if [ "${1-}" = quick ]; then
    step 'format' cargo fmt --check
    step 'unit tests' cargo test --locked --lib --test documentation --test layers --test schedule --test troubleshooting
    # shellcheck disable=SC2086 # a list of words
    step 'end-to-end tests' cargo test --locked --test e2e -- $quick
    [ -z "$failed" ]
    exit
fi

step 'programs the tests need' install_all || exit 1
step 'format' cargo fmt --check
step 'clippy' cargo clippy --locked --all-targets -- -D warnings
step 'documentation' env RUSTDOCFLAGS=-Dwarnings cargo doc --locked --no-deps
step 'shell scripts' shellcheck scripts/*.sh scripts/lib/*.sh examples/hooks/* examples/curl/*.sh .ci/run
step 'Dockerfile' "$python_dir/bin/hadolint" Dockerfile
[ $# -gt 0 ] || start_image
step 'build' cargo test --locked --no-run "$@" || exit 1
if [ $# -gt 0 ]; then
    run_tests 'tests' "$@"
else
    run_tests 'tests' -- --skip siege:: --skip a_crowd_that_guesses
    join_image
    run_crowds
fi

[ -z "$failed" ] || printf '\nfailed steps: %s\n' "${failed#, }"
[ ! -e "$work/tests" ] || awk -v begun="$begun" -v ended="$(date +%s)" '/^test result:/ { passed += $4; failed += $6 }
    END { printf "%d tests passed, %d failed, %d s in all\n", passed, failed, ended - begun }' "$work/tests"
[ -z "$failed" ]
