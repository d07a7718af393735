#!/bin/sh
# The live tests against HAProxy of several Debian releases: taken as packages and
# unpacked under target/haproxy/, nothing is installed. Prints which version passes.
#
# Usage: tests/matrix.sh [SUITE...]    (default: bookworm trixie sid)
# FRESH=1 takes the packages again; sid moves. On Debian, as it needs apt.
set -eu
cd "$(dirname "$0")/.."

# All tests that talk to HAProxy, or have it started.
TESTS='accepted plan proxy labels injection'
KEEP=$PWD/target/haproxy
KEY=/usr/share/keyrings/debian-archive-keyring.gpg

say() { echo "matrix: $*" >&2; }

die() {
    say "$*"
    exit 1
}

mirror() {
    uri=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
    echo "${uri:-http://deb.debian.org/debian}"
}

# in_suite DIR SUITE APT-GET-WORDS...: apt-get as if SUITE were all there is, and nothing installed.
in_suite() {
    dir=$1 suite=$2
    shift 2
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/parts"
    : >"$dir/status"
    echo "deb [signed-by=$KEY] $(mirror) $suite main" >"$dir/sources.list"
    apt-get -qq -o Dir::Etc::sourcelist="$dir/sources.list" \
        -o Dir::Etc::sourceparts="$dir/parts" -o Dir::Etc::preferencesparts="$dir/parts" \
        -o Dir::State="$dir" -o Dir::State::lists="$dir/lists" \
        -o Dir::State::status="$dir/status" -o Dir::Cache="$dir/cache" \
        -o Dir::Cache::archives="$dir/cache/archives" \
        -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)" "$@"
}

# unpack DIR SUITE PACKAGE: the package with all it depends on, libc too, into DIR/root.
unpack() {
    rm -rf "$1"
    mkdir -p "$1/root" "$1/bin"
    in_suite "$1" "$2" update
    in_suite "$1" "$2" -y --no-install-recommends --download-only install "$3"
    for deb in "$1"/cache/archives/*.deb; do
        dpkg-deb -x "$deb" "$1/root"
    done
    rm -rf "$1/lists" "$1/cache"
}

# The newest of the loader's names is a link in some releases.
loader() { find "$1/root" -name 'ld-linux*.so.*' ! -type d | head -n 1; }

libraries() {
    find "$1/root" -type d \( -path '*/lib/*-linux-gnu' -o -path '*/usr/lib' \) | tr '\n' ':'
}

patchelf_at() {
    command -v patchelf && return
    tool=$KEEP/patchelf
    if ! [ -e "$tool/root/usr/bin/patchelf" ]; then
        unpack "$tool" bookworm patchelf
    fi
    # Of another release than this machine, perhaps: with its own libraries.
    printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' "$(loader "$tool")" \
        "$(libraries "$tool")" "$tool/root/usr/bin/patchelf" >"$tool/bin/patchelf"
    chmod +x "$tool/bin/patchelf"
    echo "$tool/bin/patchelf"
}

# HAProxy starts itself anew by its own name, so the program has to know its loader.
haproxy_of() {
    dir=$KEEP/$1
    if [ -z "${FRESH:-}" ] && "$dir/bin/haproxy" -v >/dev/null 2>&1; then
        return
    fi
    say "taking haproxy of $1"
    unpack "$dir" "$1" haproxy
    cp "$dir/root/usr/sbin/haproxy" "$dir/bin/haproxy.part"
    "$patchelf" --set-interpreter "$(loader "$dir")" --force-rpath \
        --set-rpath "$(libraries "$dir")" "$dir/bin/haproxy.part"
    mv "$dir/bin/haproxy.part" "$dir/bin/haproxy"
}

version_of() { "$1" -v | sed -n 's/^HAProxy version \([^ ]*\).*/\1/p'; }

# count WORD LOG: sums "… 3 passed; 1 failed; …" over all test binaries.
count() {
    awk -v word="$1" '/^test result:/ { for (i = 2; i < NF; i++) if ($(i + 1) == word ";") sum += $i }
        END { print sum + 0 }' "$2"
}

command -v apt-get >/dev/null || die "apt-get is needed, to take packages of Debian"
[ -e "$KEY" ] || die "$KEY is missing: install debian-archive-keyring"
[ $# -gt 0 ] || set -- bookworm trixie sid
mkdir -p "$KEEP"
patchelf=$(patchelf_at)

words=''
for test in $TESTS; do
    words="$words --test $test"
done
# shellcheck disable=SC2086 # a list of words
cargo test --quiet --no-run $words

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
    # shellcheck disable=SC2086 # a list of words
    if ! CI=1 HAPROXY_BIN=$bin cargo test --no-fail-fast $words >"$log" 2>&1; then
        verdict=FAILED worst=1
        grep -E '^(test .* FAILED|thread .* panicked)' "$log" >&2 || tail -n 20 "$log" >&2
    fi
    printf '%-10s %-22s %6s %6s  %s\n' "$suite" "$version" "$(count passed "$log")" \
        "$(count failed "$log")" "$verdict" >>"$table"
done
printf '%-10s %-22s %6s %6s\n' suite HAProxy passed failed
cat "$table"
exit "$worst"
