#!/bin/sh
# Builds the image docker-glue-dovecot:TAG from Debian's dovecot, which is unpacked under target/dovecot/ without
# installing anything. The image contains only dovecot and its libraries, without a configuration. An up-to-date image is
# kept. Needs Debian, for apt.
#
# Usage: tests/dovecot-image.sh [TAG]    (TAG is "test" by default)
set -eu
cd "$(dirname "$0")/.."

KEEP=$PWD/target/dovecot
dir=$KEEP/bookworm
image=docker-glue-dovecot:${1:-test}
label=docker-glue.dovecot.sha256

say() { echo "dovecot-image: $*" >&2; }

# shellcheck source=tests/packages.sh
. tests/packages.sh

if ! [ -x "$dir/root/usr/sbin/dovecot" ]; then
    need_apt
    say "taking dovecot of bookworm"
    mkdir -p "$KEEP"
    unpack "$dir" bookworm dovecot-imapd
fi
sum=$(cat "$0" "$dir/root/usr/sbin/dovecot" | sha256sum | cut -d ' ' -f 1)
held=$(docker image inspect -f "{{index .Config.Labels \"$label\"}}" "$image" 2>/dev/null || true)
[ "$held" != "$sum" ] || exit 0

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cp -a "$dir/root/lib" "$dir/root/lib64" "$root"
mkdir -p "$root/etc/dovecot" "$root/run/dovecot" "$root/tmp" \
    "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/var/lib/dovecot"
cp -a "$dir/root/usr/sbin/dovecot" "$root/usr/sbin/"
cp -a "$dir/root/usr/bin/doveconf" "$root/usr/bin/"
cp -a "$dir/root/usr/lib/dovecot" "$root/usr/lib/"
find "$dir/root/usr/lib" -maxdepth 2 -name '*.so*' -exec cp -a {} "$root/usr/lib/" ';'
cat >"$root/etc/passwd" <<'END'
root:x:0:0:root:/:/nonexistent
dovecot:x:101:101:dovecot:/:/nonexistent
dovenull:x:102:102:dovenull:/:/nonexistent
END
printf 'root:x:0:\ndovecot:x:101:\ndovenull:x:102:\n' >"$root/etc/group"
tar -c --owner=0 --group=0 -C "$root" . |
    docker import -c 'ENTRYPOINT ["/usr/sbin/dovecot", "-F"]' -c 'EXPOSE 993' \
        -c "ENV LD_LIBRARY_PATH=/usr/lib" -c "LABEL $label=$sum" - "$image" >/dev/null
echo "made image $image"
