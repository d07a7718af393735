#!/bin/sh
# Installs all files of packaging/assets below DESTDIR.
#
# Usage: packaging/install.sh [DESTDIR]
set -eu
cd "$(dirname "$0")/.."
root=${1:-${DESTDIR:-}}

grep -v '^ *\(#\|$\)' packaging/assets | while read -r mode from to _; do
    # shellcheck disable=SC2086 # a * matches all existing files
    set -- $from
    for file in "$@"; do
        [ -e "$file" ] || { echo "install: there is no $file; run make first" >&2; exit 1; }
        case $to in
        */) place=$to$(basename "$file") ;;
        *) place=$to ;;
        esac
        install -D -m "$mode" "$file" "$root$place"
    done
done
