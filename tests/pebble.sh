#!/bin/sh
# Unpacks Debian unstable's pebble, a small ACME server, under target/pebble/ without installing anything. Older releases
# of it have neither ARI nor profiles. Prints the folder of its programs. Needs Debian, for apt.
set -eu
cd "$(dirname "$0")/.."

KEEP=$PWD/target/pebble
dir=$KEEP/sid

say() { echo "pebble: $*" >&2; }

# shellcheck source=tests/packages.sh
. tests/packages.sh

if ! "$dir/bin/pebble" -version >/dev/null 2>&1; then
    need_apt
    say "taking pebble of sid"
    mkdir -p "$KEEP"
    unpack "$dir" sid pebble
    for program in usr/bin/pebble usr/bin/pebble-challtestsrv; do
        wrap "$dir" "$program"
    done
fi
echo "$dir/bin"
