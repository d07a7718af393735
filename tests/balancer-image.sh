#!/bin/sh
# Makes an image of docker-balancer and HAProxy, out of the programs that this machine has:
# docker-glue-balancer:TAG. They and their libraries are all that is in it. No registry is needed.
# What is there already and up to date is left alone.
#
# Usage: tests/balancer-image.sh [TAG [DOCKER-BALANCER [HAPROXY]]]    (TAG is "test" by default)
set -eu

tag=${1:-test}
image=docker-glue-balancer:$tag
label=docker-glue.balancer.sha256
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

find_program() {
    command -v "$1" && return
    echo "balancer-image: there is no $1; install it, or say where it is" >&2
    exit 1
}

balancer=$(find_program "${2:-docker-balancer}")
haproxy=$(find_program "${3:-haproxy}")

sum=$(cat "$0" "$balancer" "$haproxy" | sha256sum | cut -d ' ' -f 1)
held=$(docker image inspect -f "{{index .Config.Labels \"$label\"}} {{.Id}}" "$image" 2>/dev/null || true)
[ "${held% *}" != "$sum" ] || exit 0

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/etc" "$root/usr/sbin" "$root/usr/bin" "$root/tmp"
cp "$balancer" "$root/usr/bin/docker-balancer"
cp "$haproxy" "$root/usr/sbin/haproxy"
# The loader and all libraries, each at the place where it is looked for.
ldd "$balancer" "$haproxy" | grep -o '/[^ ]*\.so[^ ]*' | sort -u | while read -r library; do
    mkdir -p "$root${library%/*}"
    cp -L "$library" "$root$library"
done
# HAProxy's workers run as this user.
echo 'haproxy:x:99:99:haproxy:/:/nonexistent' >"$root/etc/passwd"
echo 'haproxy:x:99:' >"$root/etc/group"
chmod 1777 "$root/tmp"

tar -c --owner=0 --group=0 -C "$root" . |
    docker import -c 'ENTRYPOINT ["/usr/bin/docker-balancer"]' -c 'CMD ["-w"]' -c 'EXPOSE 80' \
        -c "LABEL $label=$sum" - "$image" >/dev/null
echo "made image $image"
# It would stay without a name; one that a container uses stays all the same.
[ -z "$held" ] || docker image rm "${held#* }" >/dev/null 2>&1 || true
