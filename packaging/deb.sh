#!/bin/sh
# Makes target/package/docker-glue_VERSION-1_ARCH.deb from the output of packaging/build.sh.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=packaging/package.sh
. packaging/package.sh

root=target/stage/deb
stage "$root"
arch=$(dpkg --print-architecture)
doc=$root/usr/share/doc/docker-glue

gzip -9n "$root"/usr/share/man/man8/*.8
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
gzip -9nc >"$doc/changelog.Debian.gz" <<END
docker-glue ($VERSION-1) unstable; urgency=medium

  * See changelog.gz for the changes.

 -- $MAINTAINER  $DATE
END
install -D -m 644 packaging/deb/lintian-overrides "$root/usr/share/lintian/overrides/docker-glue"
mkdir -p "$root/DEBIAN"
install -m 755 packaging/deb/preinst packaging/deb/postinst packaging/deb/prerm packaging/deb/postrm "$root/DEBIAN/"
config_files "$root" >"$root/DEBIAN/conffiles"
(cd "$root" && find usr -type f -printf '%P\0' | sed -z 's|^|usr/|' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
cat >"$root/DEBIAN/control" <<END
Package: docker-glue
Version: $VERSION-1
Architecture: $arch
Section: net
Priority: optional
Maintainer: $MAINTAINER
Installed-Size: $(du -k -s --apparent-size "$root" | cut -f 1)
Depends: libc6 (>= 2.34), libgcc-s1, haproxy (>= 2.6), systemd | systemd-standalone-sysusers, systemd | systemd-standalone-tmpfiles
Recommends: docker.io | docker-ce
Suggests: iptables, nftables, python3
Description: $SUMMARY
 docker-balancer configures HAProxy from labels on containers, such as
 glue_http_80_host=app.example.com, within milliseconds and without losing
 requests.
 .
 docker-glue runs scripts and plugins, writes files from templates and
 publishes containers on their events.
END
settle_times "$root"
mkdir -p "$OUT"
# Level 9 has a larger window than level 6, so xz finds the code that both programs share.
dpkg-deb --root-owner-group -Zxz -z9 --build "$root" "$OUT/docker-glue_${VERSION}-1_$arch.deb" >/dev/null
ls -l "$OUT/docker-glue_${VERSION}-1_$arch.deb"
