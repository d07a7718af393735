#!/bin/sh
# Installs what the demo and the tests need, where it is missing, and starts
# Docker: for Debian, Ubuntu and Fedora with Rust already there. Quiet and quick
# when all is there.
#
# Usage: tests/setup.sh [--tests]    (--tests: also what only the tests need)
set -eu

# What only the tests need, by package manager: openssl makes the certificates of a Docker with TLS.
apt_tests='openssl'
dnf_tests='openssl'

say() { echo "setup: $*" >&2; }

die() {
    say "$*"
    exit 1
}

# Not only in PATH: an ordinary user's may lack the sbin directories.
has() {
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]
}

systemd_runs() { [ -d /run/systemd/system ]; }

# Without 9, the lock, as a service that a package starts would keep it.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@" 9<&-
    elif has sudo; then
        sudo "$@" 9<&-
    else
        die "needs root for: $*; run it as root or install sudo"
    fi
}

# need COMMAND PACKAGE...: lists the packages if the command is missing.
need() {
    has "$1" && return
    shift
    missing="$missing $*"
}

# Static linking needs the C library's archive, which gcc alone does not bring.
has_static_libc() {
    has gcc && [ -f "$(gcc -print-file-name=libc.a)" ]
}

# The docker command may be there without an engine: dockerd is what counts.
missing_apt() {
    need haproxy haproxy
    need dockerd docker.io
    need docker docker-cli
    need iptables iptables
    has_static_libc || missing="$missing gcc libc6-dev"
    need curl curl ca-certificates
    need ip iproute2
    for package in $1; do
        dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
    done
}

missing_dnf() {
    need haproxy haproxy
    need dockerd moby-engine
    need docker docker-cli
    has_static_libc || missing="$missing gcc glibc-static"
    need curl curl
    need ip iproute
    for package in $1; do
        rpm -q "$package" >/dev/null 2>&1 || missing="$missing $package"
    done
}

# An older release has the docker command in the engine's package: there is no
# package docker-cli then.
without_cli() { missing=$(echo "$missing" | sed 's/ docker-cli//'); }

install_apt() {
    as_root apt-get -qq update
    apt-cache show docker-cli >/dev/null 2>&1 || without_cli
    say "installing$missing"
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
        --no-install-recommends -o DPkg::Lock::Timeout=120 $missing >/dev/null
}

install_dnf() {
    dnf -q info docker-cli >/dev/null 2>&1 || without_cli
    say "installing$missing"
    # shellcheck disable=SC2086 # a list of words
    as_root dnf -q -y --setopt=install_weak_deps=False install $missing >/dev/null
}

# The distribution's service would take ports and is not what is shown here.
stop_haproxy_service() {
    if systemd_runs && systemctl --quiet is-enabled haproxy 2>/dev/null; then
        say "stopping and disabling the haproxy service, which its package started"
        as_root systemctl --quiet disable --now haproxy
    elif ! systemd_runs && [ -x /etc/init.d/haproxy ]; then
        as_root /etc/init.d/haproxy stop >/dev/null 2>&1 || true
    fi
}

install_missing() {
    missing=''
    if has apt-get; then
        manager=apt tests_only=$apt_tests
    elif has dnf; then
        manager=dnf tests_only=$dnf_tests
    else
        die "neither apt-get nor dnf is here: install haproxy, docker, gcc, curl and iproute2"
    fi
    [ "$with_tests" = yes ] || tests_only=''
    "missing_$manager" "$tests_only"
    [ -n "$missing" ] || return 0
    had_haproxy=no
    ! has haproxy || had_haproxy=yes
    "install_$manager"
    [ "$had_haproxy" = yes ] || stop_haproxy_service
}

docker_answers() { docker version >/dev/null 2>&1; }

# Whether an engine runs that this user may not talk to.
socket_forbidden() {
    socket=/var/run/docker.sock
    [ "$(id -u)" != 0 ] && [ -z "${DOCKER_HOST:-}" ] && [ -S "$socket" ] && [ ! -w "$socket" ]
}

explain_socket() {
    die "you may not use $socket: run this with sudo, or join its group with" \
        "'sudo usermod -aG docker $(id -un)' and log in again"
}

# shellcheck disable=SC2016 # the inner shell is to expand these
start_by_hand() {
    [ "$(id -u)" = 0 ] || has sudo || die "root has to start Docker, and there is no sudo"
    log=/var/log/docker-glue-dockerd.log
    as_root sh -c ': >>"$1"' sh "$log" 2>/dev/null || log=$(mktemp -d)/dockerd.log
    # The whole subshell lets go of the lock and of a pipe that this may write to.
    (
        exec </dev/null >/dev/null 2>&1 9<&-
        as_root setsid nohup sh -c 'PATH=$PATH:/usr/sbin:/sbin; exec dockerd >>"$1" 2>&1' sh "$log"
    ) &
    last_lines() { as_root tail -n 10 "$log" >&2; }
}

start_by_systemd() {
    last_lines() { as_root journalctl -u docker -n 10 --no-pager >&2; }
    as_root systemctl start docker || true
}

start_docker() {
    docker_answers && return
    ! socket_forbidden || explain_socket
    [ -z "${DOCKER_HOST:-}" ] || die "the engine at DOCKER_HOST=$DOCKER_HOST does not answer"
    say "starting Docker"
    if systemd_runs; then start_by_systemd; else start_by_hand; fi
    wait_for_docker
}

wait_for_docker() {
    deadline=$(($(date +%s) + 60))
    until docker_answers; do
        ! socket_forbidden || explain_socket
        if [ "$(date +%s)" -ge "$deadline" ]; then
            last_lines
            die "Docker does not answer after 60 seconds; the end of its log is above"
        fi
        sleep 0.3
    done
}

with_tests=no
for word in "$@"; do
    case $word in
    --tests) with_tests=yes ;;
    *) die "unknown argument $word; usage: setup.sh [--tests]" ;;
    esac
done

# One at a time, whoever calls: the lock is on this file, which all can read.
exec 9<"$0"
flock 9
install_missing
start_docker
