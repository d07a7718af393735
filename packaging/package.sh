# shellcheck shell=sh disable=SC2034 # other scripts use the variables
# Variables and functions of deb.sh and rpm.sh, which read this file with `. packaging/package.sh` at the root of the tree.

VERSION=${PACKAGE_VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)}
# The time of all files in a package is the time of the commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH VERSION
DATE=$(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S +0000')
SUMMARY='HAProxy and other programs follow the labels of Docker containers'
MAINTAINER='docker-glue developers <docker-glue@localhost>'
OUT=target/package

# stage FOLDER: installs all files into FOLDER.
stage() {
    rm -rf "$1"
    mkdir -p "$1"
    sh packaging/install.sh "$1"
}

settle_times() { find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; }

# Lists the configuration files, which administrators may change.
config_files() { (cd "$1" && find etc -type f | sort | sed 's|^|/|'); }
