#!/bin/sh
# Builds the book of docs/ as HTML: target/site/docs/src/index.html. A missing mdbook is put under target/tools.
set -eu
cd "$(dirname "$0")/.."

TOOLS=$PWD/target/tools

command -v mdbook >/dev/null || [ -x "$TOOLS/bin/mdbook" ] ||
    cargo install --quiet --locked --root "$TOOLS" --no-default-features --features search mdbook
PATH=$PATH:$TOOLS/bin

mdbook build docs
cp -R examples target/site/
cp docs/control.yaml target/site/docs/
echo "$PWD/target/site/docs/src/index.html"
