#!/bin/sh
# Runs the live tests with HAProxy of several Debian releases. The packages are downloaded and unpacked under
# target/haproxy/ without installing anything. Prints which versions pass.
#
# Usage: tests/matrix.sh [SUITE...]    (default: bookworm trixie sid experimental)
# FRESH=1 downloads the packages again, because sid changes. Needs Debian, for apt.
set -eu
cd "$(dirname "$0")/.."

# All tests that use HAProxy or start it: whole test binaries, and files of tests/balancer.
TESTS='haproxy faults'
FILES='backend_tls client_certificate http3 https inside labels'
KEEP=$PWD/target/haproxy

say() { echo "matrix: $*" >&2; }

# shellcheck source=tests/packages.sh
. tests/packages.sh

# HAProxy re-executes itself by its own path, so the program must contain the path of its loader.
haproxy_of() {
    dir=$KEEP/$1
    if [ -z "${FRESH:-}" ] && "$dir/bin/haproxy" -v >/dev/null 2>&1; then
        return
    fi
    say "taking haproxy of $1"
    unpack "$dir" "$1" haproxy
    adopt "$dir" usr/sbin/haproxy
}

version_of() { "$1" -v | sed -n 's/^HAProxy version \([^ ]*\).*/\1/p'; }

need_apt
[ $# -gt 0 ] || set -- bookworm trixie sid experimental
mkdir -p "$KEEP"
patchelf=$(patchelf_at)

words=''
for test in $TESTS; do
    words="$words --test $test"
done
filters=''
for file in $FILES; do
    filters="$filters $file::"
done
# shellcheck disable=SC2086 # a list of words
cargo test --quiet --no-run $words --test balancer

# run_tests HAPROXY
run_tests() {
    export CI=1 HAPROXY_BIN="$1"
    status=0
    # shellcheck disable=SC2086 # a list of words
    cargo test --no-fail-fast $words || status=$?
    # shellcheck disable=SC2086 # a list of words
    cargo test --test balancer -- $filters || status=$?
    return "$status"
}

table=$KEEP/table
: >"$table"
worst=0
for suite in "$@"; do
    haproxy_of "$suite"
    bin=$KEEP/$suite/bin/haproxy
    version=$(version_of "$bin")
    log=$KEEP/$suite.log
    say "HAProxy $version of $suite; the whole story is in $log"
    verdict=passed
    if ! (run_tests "$bin") >"$log" 2>&1; then
        verdict=FAILED worst=1
        grep -E '^(test .* FAILED|thread .* panicked)' "$log" >&2 || tail -n 20 "$log" >&2
    fi
    printf '%-10s %-22s %6s %6s  %s\n' "$suite" "$version" "$(count passed "$log")" \
        "$(count failed "$log")" "$verdict" >>"$table"
done
printf '%-10s %-22s %6s %6s\n' suite HAProxy passed failed
cat "$table"
exit "$worst"
