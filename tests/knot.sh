#!/bin/sh
# Unpacks Debian unstable's Knot DNS, an authoritative name server that accepts DNS UPDATE, under target/knot/ without
# installing anything. Prints the folder of its programs. Needs Debian, for apt.
set -eu
cd "$(dirname "$0")/.."

KEEP=$PWD/target/knot
dir=$KEEP/sid

say() { echo "knot: $*" >&2; }

# shellcheck source=tests/packages.sh
. tests/packages.sh

if ! "$dir/bin/knotd" --version >/dev/null 2>&1; then
    need_apt
    say "taking knot of sid"
    mkdir -p "$KEEP"
    unpack "$dir" sid knot
    for program in usr/sbin/knotd usr/sbin/knotc; do
        wrap "$dir" "$program"
    done
fi
echo "$dir/bin"
