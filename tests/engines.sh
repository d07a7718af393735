#!/bin/sh
# Runs the live tests with Docker engines that are newer than the machine's. The engines are packages, which are
# downloaded and unpacked under target/engine/ without installing anything. Each runs next to the machine's engine, with
# its own bridge and folder and without firewall rules. Prints which versions pass. Needs root.
#
# Usage: tests/engines.sh [SUITE...]    (default: trixie sid, and resolute where UBUNTU_MIRROR is set)
# FRESH=1 downloads the packages again, because sid changes. Needs Debian, for apt.
set -eu
cd "$(dirname "$0")/.."

# The files of tests/balancer that depend on the engine's answers.
FILES='docker labels'
KEEP=$PWD/target/engine
BRIDGE=glue-engines

say() { echo "engines: $*" >&2; }

# shellcheck source=tests/packages.sh
. tests/packages.sh

packages_of() {
    case $1 in
    resolute) echo docker.io ;;
    *) echo docker.io docker-cli ;;
    esac
}

# engine_of SUITE: fetches all programs that an engine starts, and its docker command.
engine_of() {
    dir=$KEEP/$1
    if [ -z "${FRESH:-}" ] && "$dir/bin/dockerd" --version >/dev/null 2>&1; then
        return
    fi
    say "taking the engine of $1"
    # shellcheck disable=SC2046 # a list of words
    unpack "$dir" "$1" $(packages_of "$1")
    for name in containerd containerd-shim-runc-v2 runc docker dockerd; do
        adopt "$dir" "$(in_root "$name")"
    done
    # patchelf breaks Ubuntu's docker-proxy.
    wrap "$dir" "$(in_root docker-proxy)"
    cp -L "$dir/root/$(in_root tini-static docker-init)" "$dir/bin/docker-init"
}

# in_root NAME...: prints the path below the root of the first program that exists.
in_root() {
    for name in "$@"; do
        for folder in usr/bin usr/sbin; do
            if [ -f "$dir/root/$folder/$name" ]; then
                echo "$folder/$name"
                return
            fi
        done
    done
    die "no $* in $dir/root"
}

ours() { docker --host "$url" "$@"; }

# Socket paths must be short, so the engine runs in a folder below /tmp.
start() {
    run=$(mktemp -d /tmp/glue-engine.XXXXXX) url=unix://$run/docker.sock
    echo '{}' >"$run/daemon.json"
    ip link add "$BRIDGE" type bridge
    ip address add 10.215.0.1/24 dev "$BRIDGE"
    ip link set "$BRIDGE" up
    PATH=$dir/bin:$PATH dockerd --host "$url" --bridge "$BRIDGE" --config-file "$run/daemon.json" \
        --data-root "$run/data" --exec-root "$run/exec" --pidfile "$run/pid" \
        --iptables=false --ip6tables=false --ip-masq=false \
        --default-address-pool base=10.216.0.0/16,size=24 >"$dir/dockerd.log" 2>&1 &
    pid=$!
    deadline=$(($(date +%s) + 60))
    until ours version >/dev/null 2>&1; do
        if [ "$(date +%s)" -ge "$deadline" ] || ! kill -0 "$pid" 2>/dev/null; then
            tail -n 10 "$dir/dockerd.log" >&2
            die "the engine in $dir does not start; the end of its log is above"
        fi
        sleep 0.2
    done
}

stop() {
    [ -n "$run" ] || return 0
    # shellcheck disable=SC2046 # a list of words
    ours rm --force --volumes $(ours ps --all --quiet 2>/dev/null) >/dev/null 2>&1 || true
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    [ -z "$pid" ] || wait "$pid" 2>/dev/null || true
    awk -v run="$run/" 'index($2, run) == 1 { print $2 }' /proc/self/mounts |
        while read -r mount; do umount --lazy "$mount"; done
    ip link delete "$BRIDGE" 2>/dev/null || true
    rm -rf "$run"
    run='' pid=''
}

need_apt
[ "$(id -u)" = 0 ] || die "starting engines needs root"
if [ $# -eq 0 ]; then
    set -- trixie sid
    if [ -n "${UBUNTU_MIRROR:-}" ]; then
        set -- "$@" resolute
    else
        say "Ubuntu's engine 29 is left out: UBUNTU_MIRROR names no mirror"
    fi
fi
mkdir -p "$KEEP"
patchelf=$(patchelf_at)

filters=''
for file in $FILES; do
    filters="$filters $file::"
done
cargo test --quiet --no-run --test balancer

run='' pid=''
trap stop EXIT
trap 'exit 130' INT TERM
table=$KEEP/table
: >"$table"
worst=0
for suite in "$@"; do
    engine_of "$suite"
    start
    version=$(ours version --format '{{.Server.Version}} (API {{.Server.APIVersion}})')
    log=$KEEP/$suite.log
    say "Docker Engine $version of $suite; the whole story is in $log"
    verdict=passed
    # The tests also start engines of the same version.
    # shellcheck disable=SC2086 # a list of words
    if ! CI=1 DOCKER_HOST=$url PATH=$dir/bin:$PATH cargo test --test balancer -- $filters >"$log" 2>&1; then
        verdict=FAILED worst=1
        grep -E '^(test .* FAILED|thread .* panicked)' "$log" >&2 || tail -n 20 "$log" >&2
    fi
    stop
    printf '%-10s %-26s %6s %6s  %s\n' "$suite" "$version" "$(count passed "$log")" \
        "$(count failed "$log")" "$verdict" >>"$table"
done
printf '%-10s %-26s %6s %6s\n' suite 'Docker Engine' passed failed
cat "$table"
exit "$worst"
