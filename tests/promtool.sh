#!/bin/sh
# Prints where promtool is: the one that is installed, else Debian's, unpacked under target/promtool/. Its
# package is not installed, as that would start a prometheus. On Debian, as it needs apt.
set -eu
cd "$(dirname "$0")/.."

KEEP=$PWD/target/promtool
program=$KEEP/bookworm/promtool

say() { echo "promtool: $*" >&2; }

# shellcheck source=tests/packages.sh
. tests/packages.sh

if command -v promtool; then
    exit
fi
if ! [ -x "$program" ]; then
    need_apt
    say "taking promtool of bookworm"
    dir=$KEEP/part
    rm -rf "$dir"
    mkdir -p "$dir" "$(dirname "$program")"
    in_suite "$dir" bookworm update
    # Of all that prometheus depends on, promtool takes the C library alone.
    (cd "$dir" && in_suite "$dir" bookworm download prometheus)
    dpkg-deb --fsys-tarfile "$dir"/prometheus_*.deb | tar -x -C "$dir" ./usr/bin/promtool
    mv "$dir/usr/bin/promtool" "$program"
    rm -rf "$dir"
fi
echo "$program"
