# shellcheck shell=sh disable=SC2034 # its readers use what it sets
# What deb.sh and rpm.sh share. For scripts in /bin/sh that say `. packaging/package.sh` at the root of the tree.

VERSION=${PACKAGE_VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
# The time of everything in a package: that of the commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH VERSION
DATE=$(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S +0000')
SUMMARY='HAProxy and other programs follow the labels of Docker containers'
MAINTAINER='docker-glue developers <docker-glue@localhost>'
OUT=target/package

# stage FOLDER: all files, with the commit's time.
stage() {
    rm -rf "$1"
    mkdir -p "$1"
    sh packaging/install.sh "$1"
}

settle_times() { find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; }

# Where administrators' files are.
config_files() { (cd "$1" && find etc -type f | sort | sed 's|^|/|'); }
