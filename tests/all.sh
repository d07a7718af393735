#!/bin/sh
# `make test`: lints and all tests in the foreground. In the background, at the lowest priority, what mostly compiles:
# `cargo deny`, and the fuzz targets, which then run for a minute each. Live tests wait more than they compute, so that
# all of it takes little longer than the tests alone. What the background says comes at the end, and so does the list
# of tests that were skipped (tests/common/mod.rs writes it).
set -eu
cd "$(dirname "$0")/.."

LOG=target/background.log
SKIPPED=target/skipped
mkdir -p target
rm -f "$SKIPPED"

end_background() {
    # Its children too: it leads a process group of its own.
    kill -- "-$background" 2>/dev/null || true
}

# A session is scheduled as one where the kernel groups by sessions, with a priority of its own.
setsid nice -n 19 sh -c '
    [ ! -w /proc/self/autogroup ] || echo 19 >/proc/self/autogroup
    sh tests/deny.sh && FUZZ_SEED=1 sh tests/fuzz.sh' </dev/null >"$LOG" 2>&1 &
background=$!
trap end_background EXIT
trap 'exit 130' INT TERM

status=0
make --no-print-directory lint || status=$?
[ $status != 0 ] || cargo build --bins || status=$?
[ $status != 0 ] || cargo test --workspace || status=$?
if [ $status = 0 ]; then
    echo 'all tests have passed; waiting for cargo deny and the fuzz targets' >&2
    wait $background || status=$?
    cat "$LOG"
fi
if [ -s "$SKIPPED" ]; then
    echo 'skipped tests:' >&2
    sort -u "$SKIPPED" | sed 's/^/  /' >&2
fi
exit $status
