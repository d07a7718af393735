#!/bin/sh
# Builds the image docker-glue-balancer:TAG from this machine's docker-balancer, docker-glue-udp of the same directory,
# and HAProxy. The image contains only the programs and their libraries. No registry is needed. An up-to-date image is kept.
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
udp=$(find_program "${balancer%/*}/docker-glue-udp")
haproxy=$(find_program "${3:-haproxy}")

sum=$(cat "$0" "$balancer" "$udp" "$haproxy" | sha256sum | cut -d ' ' -f 1)
held=$(docker image inspect -f "{{index .Config.Labels \"$label\"}} {{.Id}}" "$image" 2>/dev/null || true)
[ "${held% *}" != "$sum" ] || exit 0

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/etc" "$root/usr/sbin" "$root/usr/bin" "$root/tmp"
cp "$balancer" "$root/usr/bin/docker-balancer"
cp "$udp" "$root/usr/bin/docker-glue-udp"
cp "$haproxy" "$root/usr/sbin/haproxy"
# The loader and all libraries, at the paths where the programs expect them.
ldd "$balancer" "$udp" "$haproxy" | grep -o '/[^ ]*\.so[^ ]*' | sort -u | while read -r library; do
    mkdir -p "$root${library%/*}"
    cp -L "$library" "$root$library"
done
# HAProxy's workers run as this user.
echo 'haproxy:x:99:99:haproxy:/:/nonexistent' >"$root/etc/passwd"
echo 'haproxy:x:99:' >"$root/etc/group"
chmod 1777 "$root/tmp"

tar -c --owner=0 --group=0 -C "$root" . |
    docker import -c 'ENTRYPOINT ["/usr/bin/docker-balancer"]' -c 'CMD ["-w"]' -c 'EXPOSE 80 443' \
        -c "LABEL $label=$sum" - "$image" >/dev/null
echo "made image $image"
# Removes the replaced image, which would stay without a name. An image that a container uses stays.
[ -z "$held" ] || docker image rm "${held#* }" >/dev/null 2>&1 || true
