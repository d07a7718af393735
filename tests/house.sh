#!/bin/sh
# Prints measurements of src/ (length of functions and files, names, layout, dependencies) next to those of other
# programs.
#
# Usage: tests/house.sh [--list] [COMMIT]
# --list: also the type names that several files define, and the longest functions
# COMMIT: measure this commit, not the working tree
set -eu
cd "$(dirname "$0")/.."

list=''
if [ "${1:-}" = --list ]; then
    list=$1
    shift
fi

tree=.
if [ $# != 0 ]; then
    tree=$(mktemp -d)
    trap 'rm -rf "$tree"' EXIT
    trap 'exit 130' INT TERM
    git archive --output "$tree/commit.tar" "$1" src Cargo.toml Cargo.lock
    tar -x -f "$tree/commit.tar" -C "$tree"
fi
# shellcheck disable=SC2086 # nothing or one word
python3 -B tests/house/measure.py $list "$tree"
