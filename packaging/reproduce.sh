#!/bin/sh
# Verifies that the same commit gives the same bytes: builds HEAD again in another directory, and compares each package
# with the one in target/package. Run `make packages` first; this script takes as long.
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
