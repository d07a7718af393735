#!/bin/sh
# What attackers and failing machines have tried on docker-glue, tried again here. A ground is a row, its attacks are
# tests. Prints how many were tried and how many held, and ends with a status if one did not.
#
# Usage: tests/attack.sh [WORD]: only the grounds with this word in their names
set -eu
cd "$(dirname "$0")/.."

LOG=target/attack.log
WORD=${1:-}
# Nothing is skipped.
export CI=true
status=0

# ground NAME CARGO'S WORDS...
ground() {
    name=$1
    shift
    case $name in *"$WORD"*) ;; *) return 0 ;; esac
    echo "== $name: cargo test $*" >>"$LOG"
    part=$(mktemp)
    cargo test --no-fail-fast "$@" >"$part" 2>&1 || status=1
    cat "$part" >>"$LOG"
    held=$(grep -c '^test .* ok$' "$part" || true)
    failed=$(grep -c '^test .* FAILED$' "$part" || true)
    rm -f "$part"
    printf '%-46s %6s %6s\n' "$name" $((held + failed)) "$held"
    # Tests that are gone, or that do not compile, have tried nothing.
    [ "$held" -gt 0 ] || status=1
}

mkdir -p target
: >"$LOG"
cargo build --quiet --bins
printf '%-46s %6s %6s\n' ground tried held
ground 'HTTP to containers' --test frontend
ground 'labels against the configuration' --test injection --test property
ground 'containers against other containers' --test strangers --test layout
ground 'reader of the log that stalls' --test logs
ground 'a panic in each task' --test tasks
ground 'dashboard, metrics and control socket' --test dashboard --test metrics --test control
ground 'scripts, plugins and templates' --test glue_scripts --test glue_plugins --test glue_template
ground 'compose files' --test check_verb
ground 'inputs of public reports' --test cases
ground 'local users' --test service
ground 'odd answers of the engine' --test odd_engine --test docker
ground 'an engine elsewhere' --test elsewhere
ground 'state files, disks and crashes' --test history --test faults
[ $status = 0 ] || echo "attack: something did not hold; all that was said is in $LOG" >&2
exit $status
