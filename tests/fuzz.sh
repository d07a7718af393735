#!/bin/sh
# Builds the fuzz targets and runs them, two at a time, each for FUZZ_SECONDS (60). Inputs are random. With FUZZ_SEED
# they are the same in each run of one build, so that `make test` fails because of a change and not by chance. Exits
# with an error at the first crash, whose input is kept in tests/fuzz/artifacts/. Inputs that reach new code are kept in
# tests/fuzz/corpus/, which Git ignores. A target starts with files of the project and with tests/fuzz/seeds/.
#
# Usage: tests/fuzz.sh [TARGET...]
#        tests/fuzz.sh --build: only builds them
set -eu
cd "$(dirname "$0")/.."

FUZZ=tests/fuzz
SECONDS_EACH=${FUZZ_SECONDS:-60}
HOST=$(rustc -vV | sed -n 's/^host: //p')
# cargo-fuzz's compiler options, all of which a stable compiler knows. The code contains no unsafe, so fuzzing can find
# only assertions and panics: no sanitizer, and thus no nightly compiler, is needed.
COVERAGE='--cfg fuzzing -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares'

# With --target, build scripts and macros are not instrumented. The dependencies are the same as those of the programs.
build() {
    cp Cargo.lock "$FUZZ/Cargo.lock"
    RUSTFLAGS="$COVERAGE ${RUSTFLAGS:-}" cargo build --quiet --release --manifest-path "$FUZZ/Cargo.toml" \
        --target "$HOST" --target-dir target/fuzz
}

# Prints the files of the project that are also inputs of a target.
seeds_of() {
    case $1 in
    compose) ls tests/check/*.yaml tests/cases/*.yaml examples/compose.yaml ;;
    ini) ls examples/docker-glue.d/*.example tests/cases/*.ini ;;
    settings) ls examples/settings.toml ;;
    template) ls examples/templates/*.tmpl tests/template/*.tmpl ;;
    answers) find tests/observed -type f ;;
    esac
    [ ! -d "$FUZZ/seeds/$1" ] || find "$FUZZ/seeds/$1" -type f
}

# Prints the maximum input length. Short inputs allow more runs, and longer inputs find nothing more in these targets.
longest_of() {
    case $1 in
    labels) echo 512 ;;
    files | options) echo 4096 ;;
    *) echo 16384 ;;
    esac
}

# Runs one target; prints its last lines and returns its status.
run() {
    log=target/fuzz/$1.log
    mkdir -p "$FUZZ/corpus/$1" "$FUZZ/artifacts/$1" "target/fuzz/seeds/$1"
    seeds_of "$1" | while read -r seed; do cp "$seed" "target/fuzz/seeds/$1/$(echo "$seed" | tr / -)"; done
    dict=
    [ ! -f "$FUZZ/$1.dict" ] || dict=-dict=$FUZZ/$1.dict
    # shellcheck disable=SC2086 # no dictionary is no word
    if "target/fuzz/$HOST/release/$1" "$FUZZ/corpus/$1" "target/fuzz/seeds/$1" "-artifact_prefix=$FUZZ/artifacts/$1/" \
        -max_total_time="$SECONDS_EACH" -seed="${FUZZ_SEED:-0}" -timeout=240 -rss_limit_mb=2048 -max_len="$(longest_of "$1")" \
        $dict >"$log" 2>&1; then
        sed -n "s/^Done \([0-9]*\) runs in \([0-9]*\).*/fuzz $1: \1 runs in \2 s, nothing found/p" "$log"
    else
        tail -n 60 "$log"
        echo "fuzz $1: FAILED; the whole log is $log"
        return 1
    fi
}

build
[ "${1:-}" != --build ] || exit 0
# shellcheck disable=SC2046 # several words
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\([a-z]*\)"$/\1/p' "$FUZZ/Cargo.toml")

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
