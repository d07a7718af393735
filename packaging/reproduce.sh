#!/bin/sh
# Shows that the same commit gives the same bytes: what HEAD is, is built once more in another folder, and each
# package compared with that of target/package. Takes as long as `make packages`, which goes before.
set -eu
cd "$(dirname "$0")/.."
if [ -n "$(git status --porcelain)" ]; then
    echo "reproduce: something is not committed, so HEAD is not what target/package was built of" >&2
    exit 1
fi
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT INT TERM
git clone --quiet . "$elsewhere/another/place"
make --quiet -C "$elsewhere/another/place" build
(cd "$elsewhere/another/place" && sh packaging/deb.sh && sh packaging/rpm.sh) >/dev/null
for package in "$elsewhere"/another/place/target/package/*; do
    cmp "$package" "target/package/${package##*/}"
    echo "the same bytes: ${package##*/}"
done
