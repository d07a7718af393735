#!/bin/sh
# Unpacks Debian unstable's curl, which can HTTP/3, under target/curl/ without installing anything. Prints the path of the
# program. Needs Debian, for apt.
set -eu
cd "$(dirname "$0")/.."

KEEP=$PWD/target/curl
dir=$KEEP/sid

say() { echo "curl: $*" >&2; }

# shellcheck source=tests/packages.sh
. tests/packages.sh

if ! "$dir/bin/curl" --version 2>/dev/null | grep -q HTTP3; then
    need_apt
    say "taking curl of sid"
    mkdir -p "$KEEP"
    unpack "$dir" sid curl
    wrap "$dir" usr/bin/curl
fi
echo "$dir/bin/curl"
