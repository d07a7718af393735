#!/bin/sh
# Checks that all dependencies have a suitable license, come from the registry, and have no known vulnerability. Fetches
# the vulnerability database; if that fails, a message says so and the other checks run. Installs a missing cargo-deny
# in target/tools.
set -eu
cd "$(dirname "$0")/.."

TOOLS=$PWD/target/tools

# The program runs once and need not be fast: without optimisation it is built in half the time.
command -v cargo-deny >/dev/null || [ -x "$TOOLS/bin/cargo-deny" ] ||
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        CARGO_PROFILE_RELEASE_DEBUG=false cargo install --quiet --locked --root "$TOOLS" cargo-deny
PATH=$PATH:$TOOLS/bin

if timeout 60 cargo deny fetch db >/dev/null 2>&1; then
    checks='advisories bans licenses sources'
else
    echo 'deny: the database of advisories cannot be fetched from here; known faults are NOT looked for' >&2
    checks='bans licenses sources'
fi
# shellcheck disable=SC2086 # several words
exec cargo deny --log-level error check $checks
