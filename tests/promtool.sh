#!/bin/sh
# Prints the path of promtool: the installed one, or else Debian's, unpacked under target/promtool/. The package is not
# installed, because it would start a prometheus. Needs Debian, for apt.
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
    # Of all the dependencies of prometheus promtool needs only the C library.
    (cd "$dir" && in_suite "$dir" bookworm download prometheus)
    dpkg-deb --fsys-tarfile "$dir"/prometheus_*.deb | tar -x -C "$dir" ./usr/bin/promtool
    mv "$dir/usr/bin/promtool" "$program"
    rm -rf "$dir"
fi
echo "$program"
