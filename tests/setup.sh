#!/bin/sh
# Installs missing programs that the demo and the tests need, and starts Docker. For Debian, Ubuntu and Fedora with Rust
# installed. Quiet and fast if nothing is missing.
#
# Usage: tests/setup.sh [--tests] [--packages]
# --tests: also what only the tests need; --packages: also what building and checking packages needs
set -eu

# What only the tests need, by package manager: openssl creates the certificates of a Docker with TLS, ssh is one way to
# reach an engine, debootstrap builds a small Debian with systemd, etcd gets published containers, podman (with its
# network programs) is another engine, a script of Docker Glue uses crudini, plugins use python3, nginx and dnsmasq read
# the output of templates, docker-glue-udp starts nft, chromium shows the dashboard and pages over HTTPS (certutil gives it
# the CAs of the tests), keepalived moves an address between balancers, libFuzzer is C++, and the image of tests/cases
# contains only busybox.
apt_tests='g++ openssl openssh-client openssh-server debootstrap debian-archive-keyring etcd-server etcd-client podman netavark aardvark-dns crudini python3 nginx dnsmasq-base nftables keepalived chromium chromium-driver libnss3-tools busybox-static'
dnf_tests='gcc-c++ openssl openssh-clients openssh-server debootstrap debian-keyring etcd podman netavark aardvark-dns crudini python3 nginx dnsmasq nftables keepalived chromium chromedriver nss-tools busybox'

apt_packages='binutils rpm lintian rpmlint shellcheck docker-compose'
dnf_packages='binutils rpm-build rpmlint ShellCheck dpkg docker-compose'

say() { echo "setup: $*" >&2; }

die() {
    say "$*"
    exit 1
}

# Also looks outside PATH: a regular user's PATH may lack the sbin directories.
has() {
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]
}

systemd_runs() { [ -d /run/systemd/system ]; }

# Closes descriptor 9, the lock: a service that a package starts would keep it open.
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

# Static linking needs the C library's archive, which is not in gcc's own package.
has_static_libc() {
    has gcc && [ -f "$(gcc -print-file-name=libc.a)" ]
}

# The docker command may exist without an engine, so dockerd is checked.
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

# In older releases the docker command is in the engine's package, and the package docker-cli does not exist.
without_cli() { missing=$(echo "$missing" | sed 's/ docker-cli//'); }

# Ubuntu provides chromium as a snap: there the tests with a browser are skipped, and reported as such.
without_browser() { missing=$(echo "$missing" | sed 's/ chromium-driver//; s/ chromium//'); }

# Older releases have a Podman before 4.3, without netavark: there the tests with it are skipped, and reported as such.
without_podman() { missing=$(echo "$missing" | sed 's/ podman//; s/ netavark//; s/ aardvark-dns//'); }

install_apt() {
    as_root apt-get -qq update
    apt-cache show netavark >/dev/null 2>&1 || without_podman
    apt-cache show docker-cli >/dev/null 2>&1 || without_cli
    apt-cache show chromium-driver >/dev/null 2>&1 || without_browser
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

# The tests start their own sshd, etcd, nginx and keepalived. A machine without these services must not get them, nor be opened to
# the network. Debian starts the services at installation, unless they are masked.
fence() {
    systemd_runs || return 0
    case $missing in *openssh-server*) fenced='ssh.service ssh.socket sshd.service sshd.socket' ;; esac
    case $missing in *etcd-server*) fenced="$fenced etcd.service" ;; esac
    case $missing in *nginx*) fenced="$fenced nginx.service" ;; esac
    case $missing in *keepalived*) fenced="$fenced keepalived.service" ;; esac
    [ -n "$fenced" ] || return 0
    trap unfence EXIT
    # shellcheck disable=SC2086 # a list of words
    as_root systemctl --quiet mask $fenced 2>/dev/null
}

unfence() {
    [ -n "$fenced" ] || return 0
    trap - EXIT
    # shellcheck disable=SC2086 # a list of words
    as_root systemctl --quiet unmask $fenced
    for unit in $fenced; do
        as_root systemctl --quiet disable "$unit" 2>/dev/null || true
    done
}

# Where systemd does not run, Debian starts the services by their init scripts.
stop_services() {
    ! systemd_runs || return 0
    case $missing in *etcd-server*) stop_service etcd ;; esac
    case $missing in *nginx*) stop_service nginx ;; esac
}

stop_service() {
    [ ! -x "/etc/init.d/$1" ] || as_root "/etc/init.d/$1" stop >/dev/null 2>&1 || true
}

# The distribution's service would use the ports, and is not what the demo shows.
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
        manager=apt tests_only=$apt_tests packages_only=$apt_packages
    elif has dnf; then
        manager=dnf tests_only=$dnf_tests packages_only=$dnf_packages
    else
        die "neither apt-get nor dnf is here: install haproxy, docker, gcc, curl and iproute2"
    fi
    [ "$with_tests" = yes ] || tests_only=''
    [ "$with_packages" = yes ] || packages_only=''
    "missing_$manager" "$tests_only $packages_only"
    [ -n "$missing" ] || return 0
    had_haproxy=no
    ! has haproxy || had_haproxy=yes
    fenced=''
    fence
    "install_$manager"
    unfence
    stop_services
    [ "$had_haproxy" = yes ] || stop_haproxy_service
}

docker_answers() { docker version >/dev/null 2>&1; }

# Returns whether an engine runs that this user has no permission for.
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
    # The whole subshell closes the lock and a pipe that this script may write to.
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

with_tests=no with_packages=no
for word in "$@"; do
    case $word in
    --tests) with_tests=yes ;;
    --packages) with_packages=yes ;;
    *) die "unknown argument $word; usage: setup.sh [--tests] [--packages]" ;;
    esac
done

# Only one run at a time: the lock is on this file, which all users can read.
exec 9<"$0"
flock 9
install_missing
start_docker
