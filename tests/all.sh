#!/bin/sh
# `make test`: runs lints and all tests in the foreground. Long compilations run in the background at the lowest
# priority: `cargo deny`, and the fuzz targets, which then run for a minute each. Live tests mostly wait, so the whole
# run takes little longer than the tests alone. The output of the background comes at the end, followed by the list of
# skipped tests (written by tests/common/mod.rs).
set -eu
cd "$(dirname "$0")/.."

# Inputs of property tests are the same in each run, so that it fails because of a change and not by chance. A run of
# `cargo test` by itself has new ones.
export PROPTEST_RNG_SEED=1

LOG=target/background.log
SKIPPED=target/skipped
mkdir -p target
rm -f "$SKIPPED"

end_background() {
    # Also ends its children: it leads its own process group.
    kill -- "-$background" 2>/dev/null || true
}

# The image of servers is built first, so that the tests need not wait for it. A test that lacks it says why.
# Where the kernel schedules by session (autogroup), the session gets its own priority.
setsid nice -n 19 sh -c '
    [ ! -w /proc/self/autogroup ] || echo 19 >/proc/self/autogroup
    sh tests/servers-image.sh test || true
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
