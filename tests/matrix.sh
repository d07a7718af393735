#!/bin/sh
# Runs the live tests with HAProxy of several Debian releases. The packages are downloaded and unpacked under
# target/haproxy/ without installing anything. Prints a table of the parts that pass with each version.
#
# Usage: tests/matrix.sh [SUITE...]    (default: bookworm trixie sid experimental)
# PARTS='haproxy balancer/https' runs only these parts of the tests (default: all, see below).
# FRESH=1 downloads the packages again, because sid changes. Needs Debian, for apt.
set -eu
cd "$(dirname "$0")/.."

# All tests that use HAProxy or start it: TEST, a test binary, or TEST/FILE, a file of one.
ALL='haproxy faults acme/whole balancer/backend_tls balancer/client_certificate balancer/http3
    balancer/error_pages balancer/features balancer/forward_auth balancer/https balancer/https_browser balancer/inside balancer/labels balancer/metrics balancer/passthrough
    balancer/ports balancer/tcp_udp balancer/users'
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

parts=${PARTS:-$ALL}
words=''
for part in $parts; do
    words="$words --test ${part%%/*}"
done
# shellcheck disable=SC2086 # a list of words
cargo test --quiet --no-run $words

# run_part PART HAPROXY
run_part() {
    test=${1%%/*} filter=''
    [ "$test" = "$1" ] || filter=${1#*/}::
    # shellcheck disable=SC2086 # no word, or one
    CI=1 HAPROXY_BIN=$2 cargo test --no-fail-fast --test "$test" -- $filter
}

# result_of STATUS LOG: prints the number of tests that passed, or of those that failed.
result_of() {
    if [ "$1" = 0 ]; then
        count passed "$2"
    else
        echo "$(count failed "$2")-FAILED"
    fi
}

# print_table RESULTS: prints one row for each part, from lines of suite, version, part and result.
print_table() {
    awk '{ if (!($1 in version)) suites[++columns] = $1
            if (!($3 in known)) parts[++rows] = $3
            version[$1] = $2; known[$3] = 1; cell[$1, $3] = $4 }
        END {
            row = sprintf("%-28s", "tests passed")
            for (i = 1; i <= columns; i++) row = row sprintf(" %-14s", suites[i])
            print row
            row = sprintf("%-28s", "HAProxy")
            for (i = 1; i <= columns; i++) row = row sprintf(" %-14s", substr(version[suites[i]], 1, 14))
            print row
            for (j = 1; j <= rows; j++) {
                row = sprintf("%-28s", parts[j])
                for (i = 1; i <= columns; i++) row = row sprintf(" %-14s", cell[suites[i], parts[j]])
                print row
            }
        }' "$1"
}

results=$KEEP/results
: >"$results"
worst=0
for suite in "$@"; do
    haproxy_of "$suite"
    bin=$KEEP/$suite/bin/haproxy
    version=$(version_of "$bin")
    say "HAProxy $version of $suite; the logs are in $KEEP/$suite-*.log"
    for part in $parts; do
        log=$KEEP/$suite-$(echo "$part" | tr / -).log
        status=0
        run_part "$part" "$bin" >"$log" 2>&1 || status=$?
        if [ "$status" != 0 ]; then
            worst=1
            grep -E '^(test .* FAILED|thread .* panicked)' "$log" >&2 || tail -n 20 "$log" >&2
        fi
        echo "$suite $version $part $(result_of "$status" "$log")" >>"$results"
        say "$suite: $part: $(result_of "$status" "$log")"
    done
done
print_table "$results"
exit "$worst"
