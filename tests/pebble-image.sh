#!/bin/sh
# Builds the image docker-glue-pebble:TAG from Debian unstable's pebble, which tests/pebble.sh unpacks: a small CA for
# Compose files. It reads /etc/pebble/pebble.json. An up-to-date image is kept. Needs Debian, for apt.
#
# Usage: tests/pebble-image.sh [TAG]    (TAG is "test" by default)
set -eu
cd "$(dirname "$0")/.."

image=docker-glue-pebble:${1:-test}
label=docker-glue.pebble.sha256
from=$(dirname "$(sh tests/pebble.sh)")/root

sum=$(cat "$0" "$from/usr/bin/pebble" | sha256sum | cut -d ' ' -f 1)
held=$(docker image inspect -f "{{index .Config.Labels \"$label\"}}" "$image" 2>/dev/null || true)
[ "$held" != "$sum" ] || exit 0

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/etc/pebble" "$root/tmp" "$root/usr/bin"
cp -a "$from/usr/bin/pebble" "$root/usr/bin/"
cp -a "$from/usr/lib" "$from/usr/lib64" "$root/usr/"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
tar -c --owner=0 --group=0 -C "$root" . |
    docker import -c 'ENTRYPOINT ["/usr/bin/pebble"]' -c 'EXPOSE 14000' \
        -c "LABEL $label=$sum" - "$image" >/dev/null
echo "made image $image"
