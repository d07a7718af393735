#!/bin/sh
# Repeats known attacks and failures against docker-glue. tests/attacks/list.txt lists for each ground the tests that
# cover it. Prints how many were tried and how many held. The exit status is not 0 if one did not hold.
#
# Usage: tests/attack.sh [WORD]: only the grounds with this word in their names
# FUZZ_SECONDS: how long each fuzz target runs (default 10)
set -eu
cd "$(dirname "$0")/.."

LIST=tests/attacks/list.txt
LOG=target/attack.log
RESULTS=target/attack.results
WORD=${1:-}
# With CI set no test is skipped.
export CI=true FUZZ_SECONDS="${FUZZ_SECONDS:-10}"

# Prints a line for each attack: ground, suite and test (with its file, except in lib, packaging and fuzz), separated by
# tabs.
attacks() {
    awk -v word="$WORD" '
        /^#/ || /^$/ { next }
        /^[^ ]/ { ground = $0; next }
        index(ground, word) {
            suite = name = $1
            sub(/::.*/, "", suite)
            sub(/^[^:]*::/, "", name)
            print ground "\t" suite "\t" name
        }' "$LIST"
}

# Prints cargo's options for a suite.
words_of() {
    case $1 in
    lib) echo --lib ;;
    packaging) echo --package docker-glue-docs ;;
    *) echo "--test $1" ;;
    esac
}

# Runs a suite's tests that the list names, and prints each in a line with ok or FAILED.
try() {
    tests=$(attacks | awk -F '\t' -v suite="$1" '$2 == suite { print $3 }' | sort -u)
    echo "== $1: $tests" >>"$LOG"
    part=$(mktemp)
    # shellcheck disable=SC2046,SC2086 # several words
    if [ "$1" = fuzz ]; then
        sh tests/fuzz.sh $tests >"$part" 2>&1 || true
        sed -n 's/^fuzz \([a-z0-9]*\): .*nothing found$/fuzz \1 ok/p; s/^fuzz \([a-z0-9]*\): FAILED.*/fuzz \1 FAILED/p' "$part"
    else
        cargo test --no-fail-fast $(words_of "$1") -- $tests >"$part" 2>&1 || true
        awk -v suite="$1" '
            /^test / && $NF ~ /^(ok|FAILED)$/ {
                name = $2
                if (suite == "lib" || suite == "packaging") sub(/.*::/, "", name)
                print suite, name, $NF
            }' "$part"
    fi >>"$RESULTS"
    cat "$part" >>"$LOG"
    rm -f "$part"
}

mkdir -p target
: >"$LOG" && : >"$RESULTS"
cargo build --quiet --bins
for suite in $(attacks | cut -f 2 | sort -u); do
    echo "attack: trying $suite" >&2
    try "$suite"
done

# A test that is missing or does not compile counts as not held.
attacks | awk -F '\t' -v results="$RESULTS" '
    BEGIN {
        while ((getline line < results) > 0) {
            split(line, word, " ")
            if (word[3] == "ok") held[word[1], word[2]] = 1
            if (word[3] == "FAILED") broken[word[1], word[2]] = 1
        }
        printf "%-62s %6s %6s\n", "ground", "tried", "held"
    }
    function row() { if (ground != "") printf "%-62s %6d %6d\n", ground, tried, kept }
    $1 != ground { row(); ground = $1; tried = kept = 0 }
    {
        tried++
        if (held[$2, $3] && !broken[$2, $3]) kept++
        else { failed = 1; lost = lost "\nattack: " $2 "::" $3 " did not hold" }
    }
    END {
        row()
        if (failed) { print lost; print "attack: all that was said is in target/attack.log" }
        exit failed
    }'
