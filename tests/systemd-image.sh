#!/bin/sh
# Makes the image docker-glue-systemd:test: Debian 12 that boots systemd, with its package of
# haproxy as a service. For tests of services and packages; needs root and debootstrap.
#
# Taking the packages is a minute's work, so the root is kept below target/systemd/, by the hash of
# this script: an image of it, or a root, that is there is left alone.
#
# Usage: tests/systemd-image.sh
set -eu
cd "$(dirname "$0")/.."

PACKAGES=systemd,systemd-sysv,dbus,haproxy,iproute2,iptables,nftables,procps
SUITE=bookworm
IMAGE=docker-glue-systemd:test
LABEL=docker-glue.systemd.sha256
KEEP=$PWD/target/systemd

say() { echo "systemd-image: $*" >&2; }

# shellcheck source=tests/packages.sh
. tests/packages.sh

held() { docker image inspect -f "{{index .Config.Labels \"$LABEL\"}}" "$IMAGE" 2>/dev/null; }

# Half of a root is never taken for a whole one: it gets its name last.
make_root() {
    command -v debootstrap >/dev/null || die "debootstrap is missing"
    [ "$(id -u)" = 0 ] || die "debootstrap needs root"
    say "taking the packages of a small Debian 12"
    rm -rf "$KEEP"
    mkdir -p "$KEEP/root"
    debootstrap --variant=minbase --keyring="$DEBIAN_KEY" --include="$PACKAGES" "$SUITE" \
        "$KEEP/root" "$(mirror)" >"$KEEP/log" 2>&1 || {
        tail -n 10 "$KEEP/log" >&2
        die "debootstrap failed; the end of its log is above"
    }
    rm -rf "$KEEP"/root/var/cache/apt/archives/*.deb "$KEEP"/root/var/lib/apt/lists/*
    # One of its own is made at the first boot.
    : >"$KEEP/root/etc/machine-id"
    tar -C "$KEEP/root" -c . >"$KEEP/part.tar"
    rm -rf "$KEEP/root"
    mv "$KEEP/part.tar" "$1"
}

sum=$(sha256sum tests/systemd-image.sh | cut -d ' ' -f 1)
if [ "$(held)" = "$sum" ]; then
    exit
fi
archive=$KEEP/$sum.tar
[ -e "$archive" ] || make_root "$archive"
docker import -c 'ENV container=docker' -c 'CMD ["/lib/systemd/systemd"]' \
    -c "LABEL $LABEL=$sum" "$archive" "$IMAGE" >/dev/null
say "made image $IMAGE"
