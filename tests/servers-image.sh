#!/bin/sh
# Builds an image of servers from packages of Debian, which are unpacked under target/servers/ without installing
# anything. No server is started by default: a container names its program and the user. An up-to-date image is kept.
# Needs Debian, for apt.
#   docker-glue-servers:test  PostgreSQL with an empty cluster, dnsmasq, dnsdist
#   docker-glue-servers:more  rsyslog, Teeworlds, coturn, WireGuard in user space
#   docker-glue-servers:next  PostgreSQL of Debian 13 (17 or later), with an empty cluster
#
# Usage: tests/servers-image.sh [TAG]    (TAG is "test" by default)
set -eu
cd "$(dirname "$0")/.."

tag=${1:-test}
case $tag in
test) suite=bookworm packages='postgresql-15 dnsmasq-base dnsdist' ;;
more) suite=bookworm packages='rsyslog teeworlds-server coturn wireguard-go wireguard-tools iproute2' ;;
next) suite=trixie packages='postgresql-17' ;;
*)
    echo "servers-image: unknown tag $tag; usage: servers-image.sh [test|more|next]" >&2
    exit 1
    ;;
esac
# The shell is for initdb and for tests, which also use busybox as a small HTTP server.
packages="$packages dash coreutils busybox-static"

KEEP=$PWD/target/servers
dir=$KEEP/$tag
image=docker-glue-servers:$tag
label=docker-glue.servers.sha256

say() { echo "servers-image: $*" >&2; }

# shellcheck source=tests/packages.sh
. tests/packages.sh

# Only one run at a time: the lock is on this file.
exec 9<"$0"
flock 9
sum=$(sha256sum "$0" | cut -d ' ' -f 1)
held=$(docker image inspect -f "{{index .Config.Labels \"$label\"}}" "$image" 2>/dev/null || true)
[ "$held" != "$sum" ] || exit 0

# Dependencies that no server needs in a container: compilers of queries, and what installs and configures packages.
is_needless() {
    case ${1##*/} in
    libllvm* | libz3* | perl_* | perl-* | locales_* | dpkg_* | tar_* | openssl_* | passwd_*) return 0 ;;
    esac
    return 1
}

# Debian's packages expect the links of a merged /usr, which its package base-files would bring.
make_root() {
    rm -rf "$dir"
    for name in bin sbin lib lib64; do
        mkdir -p "$root/usr/$name"
        ln -s "usr/$name" "$root/$name"
    done
    mkdir -p "$root/run" "$root/var"
    ln -s ../run "$root/var/run"
    in_suite "$dir" "$suite" update
    # shellcheck disable=SC2086 # a list of words
    in_suite "$dir" "$suite" -y --no-install-recommends --download-only install $packages
    for deb in "$dir"/cache/archives/*.deb; do
        is_needless "$deb" || dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" -x --keep-directory-symlink \
            --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale' \
            --exclude='*/bitcode' --exclude='*/gconv' --exclude='*/perl' --exclude='*/perl-base'
    done
    rm -rf "$dir/lists" "$dir/cache"
}

root=$dir/root
# The sum is written last: without it, the folder is not whole.
if [ "$(cat "$dir/sum" 2>/dev/null)" != "$sum" ]; then
    need_apt
    say "taking $packages of $suite"
    make_root
    echo "$sum" >"$dir/sum"
fi

mkdir -p "$root/tmp" "$root/run" "$root/etc" "$root/var/log" "$root/var/spool/rsyslog"
chmod 1777 "$root/tmp" "$root/run"
ln -sf dash "$root/usr/bin/sh"
for version in "$root"/usr/lib/postgresql/[0-9]*; do
    [ ! -d "$version" ] || ln -sfn "${version##*/}/bin" "$root/usr/lib/postgresql/bin"
done
cat >"$root/etc/passwd" <<'END_OF_USERS'
root:x:0:0:root:/root:/bin/sh
postgres:x:101:101:postgres:/var/lib/postgresql:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
END_OF_USERS
printf 'root:x:0:\npostgres:x:101:\ndip:x:30:\nnogroup:x:65534:\n' >"$root/etc/group"
path=/usr/lib/postgresql/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/games
import() { tar -c --owner=0 --group=0 -C "$root" . | docker import -c "ENV PATH=$path" -c 'CMD ["sleep", "infinity"]' "$@"; }

if ! [ -d "$root/usr/lib/postgresql/bin/" ]; then
    import -c "LABEL $label=$sum" - "$image" >/dev/null
    say "made image $image"
    exit
fi
# A cluster takes seconds to make, so all containers begin with a copy of one.
data=/var/lib/postgresql/data
cluster="mkdir -p $data && chown postgres:postgres $data &&
    chroot --userspec=postgres:postgres / initdb --pgdata $data --auth trust --username postgres --no-sync &&
    echo host all all all trust >>$data/pg_hba.conf"
base=$(import -)
made=docker-glue-servers-$tag-$$
trap 'docker rm -f "$made" >/dev/null 2>&1 || true' EXIT
docker run --name "$made" "$base" sh -c "$cluster" >/dev/null
docker commit -c "LABEL $label=$sum" -c 'CMD ["sleep", "infinity"]' "$made" "$image" >/dev/null
say "made image $image"
