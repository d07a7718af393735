#!/bin/sh
# Builds the contents of the packages: the programs, their man pages and completions, the licences of linked crates, and the
# settings. With the same compiler, the same commit gives the same bytes on every machine.
set -eu
cd "$(dirname "$0")/.."

# The oldest glibc that the programs support: those of RHEL 9 and Ubuntu 22.04 are equal or newer.
GLIBC=2.34
CARGO=${CARGO:-cargo}

registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$PWD=. --remap-path-prefix=$registry=/registry"
export RUSTFLAGS
$CARGO build --release --locked --quiet --bins
unset RUSTFLAGS
$CARGO run --locked --quiet --package docker-glue-docs -- target/docs

for program in docker-balancer docker-glue docker-glue-udp; do
    newest=$(objdump -T "target/release/$program" | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -Vu | tail -n 1)
    if [ "$(printf '%s\n' "$newest" "$GLIBC" | sort -V | tail -n 1)" != "$GLIBC" ]; then
        echo "build: $program needs glibc $newest, and $GLIBC is wanted: build it on Debian 12, or with cargo zigbuild --target x86_64-unknown-linux-gnu.$GLIBC" >&2
        exit 1
    fi
done
