#!/bin/sh
# Builds the fuzz targets and runs them, two at a time, each for FUZZ_SECONDS (60). What cargo-fuzz is missing is put
# under target/tools. Ends with a status at the first crash, whose input stays in tests/fuzz/artifacts/.
#
# Usage: tests/fuzz.sh [TARGET...]
set -eu
cd "$(dirname "$0")/.."

TOOLS=$PWD/target/tools
SECONDS_EACH=${FUZZ_SECONDS:-60}

command -v cargo-fuzz >/dev/null || [ -x "$TOOLS/bin/cargo-fuzz" ] ||
    cargo install --quiet --locked --root "$TOOLS" cargo-fuzz
PATH=$PATH:$TOOLS/bin
# Coverage is an option of the compiler that a stable one only has when it is asked so.
export RUSTC_BOOTSTRAP=1
# cargo-fuzz says 1, which takes one core a quarter of an hour; what is said here comes after it.
export RUSTFLAGS=-Ccodegen-units=16

# Nothing here is unsafe, so that assertions and panics are what can be found, and no sanitizer is needed.
fuzz() {
    verb=$1
    shift
    cargo fuzz "$verb" --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none "$@"
}

# shellcheck disable=SC2046 # several words
[ $# -gt 0 ] || set -- $(cargo fuzz list --fuzz-dir tests/fuzz)
fuzz build

# One target: its last lines, and its status.
run() {
    log=target/fuzz/$1.log
    dict=
    [ ! -f "tests/fuzz/$1.dict" ] || dict=-dict=tests/fuzz/$1.dict
    # shellcheck disable=SC2086 # no dictionary is no word
    if fuzz run "$1" -- -max_total_time="$SECONDS_EACH" \
        -timeout=60 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 $dict >"$log" 2>&1; then
        sed -n "s/^Done \([0-9]*\) runs in \([0-9]*\).*/fuzz $1: \1 runs in \2 s, nothing found/p" "$log"
    else
        tail -n 60 "$log"
        echo "fuzz $1: FAILED; all it said is in $log"
        return 1
    fi
}

status=0
while [ $# -gt 0 ]; do
    run "$1" &
    first=$!
    if [ $# -gt 1 ]; then
        shift
        run "$1" || status=1
    fi
    wait "$first" || status=1
    shift
done
exit $status
