#!/bin/sh
# Unpacks Debian's Open vSwitch under target/ovs/ without installing anything, because the package would start it.
# Prints the folder of its programs. Needs Debian, for apt.
set -eu
cd "$(dirname "$0")/.."

KEEP=$PWD/target/ovs
dir=$KEEP/bookworm

say() { echo "ovs: $*" >&2; }

# shellcheck source=tests/packages.sh
. tests/packages.sh

if ! "$dir/bin/ovs-vsctl" --version >/dev/null 2>&1; then
    need_apt
    say "taking openvswitch-switch of bookworm"
    mkdir -p "$KEEP"
    unpack "$dir" bookworm openvswitch-switch
    for program in usr/bin/uuidgen usr/bin/ovsdb-tool usr/sbin/ovsdb-server \
        usr/lib/openvswitch-switch/ovs-vswitchd usr/bin/ovs-vsctl; do
        wrap "$dir" "$program"
    done
    cp "$dir/root/usr/bin/ovs-docker" "$dir/bin/"
fi
echo "$dir"
