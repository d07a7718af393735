#!/bin/sh
# What attackers and failing machines have tried on docker-glue, tried again here: tests/attacks/list.txt says for each
# ground which tests hold it. Prints how many were tried and how many held, and ends with a status if one did not.
#
# Usage: tests/attack.sh [WORD]: only the grounds with this word in their names
# FUZZ_SECONDS is how long each fuzz target is tried (10).
set -eu
cd "$(dirname "$0")/.."

LIST=tests/attacks/list.txt
LOG=target/attack.log
RESULTS=target/attack.results
WORD=${1:-}
# Nothing is skipped.
export CI=true FUZZ_SECONDS="${FUZZ_SECONDS:-10}"

# A line for each attack: ground, suite and test (with its file, except in lib, packaging and fuzz), with tabs between.
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

# The words that cargo takes for a suite.
words_of() {
    case $1 in
    lib) echo --lib ;;
    packaging) echo --package docker-glue-docs ;;
    *) echo "--test $1" ;;
    esac
}

# A suite's tests that the list names, each in a line with ok or FAILED after it.
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

# A test that is gone, or that does not compile, holds nothing.
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
