#!/bin/sh
# Makes target/package/docker-glue-VERSION-1.ARCH.rpm from the output of packaging/build.sh. Needs rpmbuild.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=packaging/package.sh
. packaging/package.sh

top=$PWD/target/stage/rpm
root=$top/files
stage "$root"
# Fedora uses another directory for completions of zsh.
mkdir -p "$root/usr/share/zsh/site-functions"
mv "$root"/usr/share/zsh/vendor-completions/* "$root/usr/share/zsh/site-functions/"
rmdir "$root/usr/share/zsh/vendor-completions"
mkdir -p "$root/usr/share/licenses/docker-glue"
mv "$root/usr/share/doc/docker-glue/copyright" "$root/usr/share/licenses/docker-glue/LICENSE"
gzip -9n "$root"/usr/share/man/man8/*.8
settle_times "$root"

list=$top/list
config_files "$root" | sed 's|^|%config(noreplace) |' >"$list"
(cd "$root" && find usr -type f | sort | sed 's|^|/|') |
    sed -e 's|^/usr/share/man/|%doc &|' -e 's|^/usr/share/doc/|%doc &|' -e 's|^/usr/share/licenses/|%license &|' >>"$list"
{
    echo '%dir /etc/docker-glue'
    echo '%dir /usr/share/docker-glue'
} >>"$list"

rpmbuild -bb --quiet --target "$(uname -m)" \
    --define "_topdir $top" --define "_builddir $top" --define "_rpmdir $PWD/$OUT" \
    --define "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
    --define '_build_id_links none' --define 'debug_package %{nil}' \
    --define '_buildhost localhost' --define 'use_source_date_epoch_as_buildtime 1' \
    --define 'clamp_mtime_to_source_date_epoch 1' --define '_binary_payload w9.xzdio' \
    --define '__os_install_post %{nil}' \
    --define "staged $root" --define "list $list" --define "ver $VERSION" \
    --define "summary $SUMMARY" \
    --define "day $(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" '+%a %b %d %Y')" \
    packaging/rpm/docker-glue.spec
ls -l "$OUT/docker-glue-$VERSION-1.$(uname -m).rpm"
