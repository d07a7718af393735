#!/bin/sh
# Builds the image docker-glue-nginx:TAG from this machine's nginx. The image contains only nginx, its libraries, and a
# configuration that includes /etc/nginx/conf.d/*.conf. No registry is needed. An up-to-date image is kept.
#
# Usage: tests/nginx-image.sh [TAG]    (TAG is "test" by default)
set -eu

image=docker-glue-nginx:${1:-test}
label=docker-glue.nginx.sha256
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

nginx=$(command -v nginx) || {
    echo "nginx-image: there is no nginx; install it" >&2
    exit 1
}
sum=$(cat "$0" "$nginx" | sha256sum | cut -d ' ' -f 1)
held=$(docker image inspect -f "{{index .Config.Labels \"$label\"}}" "$image" 2>/dev/null || true)
[ "$held" != "$sum" ] || exit 0

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/etc/nginx/conf.d" "$root/usr/sbin" "$root/run" "$root/tmp" "$root/var/log/nginx" \
    "$root/var/lib/nginx" "$root/var/lock"
cp "$nginx" "$root/usr/sbin/nginx"
# The loader and all libraries, at the paths where nginx expects them.
ldd "$nginx" | grep -o '/[^ ]*\.so[^ ]*' | sort -u | while read -r library; do
    mkdir -p "$root${library%/*}"
    cp -L "$library" "$root$library"
done
echo 'nginx:x:99:99:nginx:/:/nonexistent' >"$root/etc/passwd"
echo 'nginx:x:99:' >"$root/etc/group"
cat >"$root/etc/nginx/nginx.conf" <<'END'
user nginx;
worker_processes 2;
daemon off;
error_log stderr notice;
events { worker_connections 1024; }
http {
    access_log off;
    include /etc/nginx/conf.d/*.conf;
}
END
tar -c --owner=0 --group=0 -C "$root" . |
    docker import -c 'ENTRYPOINT ["/usr/sbin/nginx"]' -c 'EXPOSE 80' \
        -c "LABEL $label=$sum" - "$image" >/dev/null
echo "made image $image"
