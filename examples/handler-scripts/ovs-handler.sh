#!/bin/sh
# Connects a container without a network to an Open vSwitch bridge when it starts, and removes the port
# when it has ended. With at_start=yes, this includes containers that were running before docker-glue.
# Usage: ovs-handler.sh INI EVENT CONTAINER-ID    (docker-glue sets GLUE_…)
set -eu

event=$2 container=$3
bridge=${GLUE_PARAM_OVS_BRIDGE:?its ini file needs ovs-bridge}
interface=${GLUE_PARAM_OVS_INTERFACE:-eth0}

# The metadata of a removed container may be missing.
case $GLUE_CONTAINER_NETWORK in
none | '') ;;
*) exit 0 ;;
esac

ports() {
    ovs-vsctl --timeout=30 --data=bare --no-heading --columns=name \
        find interface "external_ids:container_id=$container"
}

take_away() {
    for port in $(ports); do
        ovs-vsctl --timeout=30 --if-exists del-port "$port"
        # It disappears some time after the container's end.
        ip link delete "$port" 2>/dev/null || true
        echo "removed port $port"
    done
}

case $event in
start)
    # The network namespace exists only while the container has a process.
    if [ ! -e "/proc/$GLUE_CONTAINER_PID/ns/net" ]; then
        echo "no process $GLUE_CONTAINER_PID; the container may have ended"
        exit 0
    fi
    # The link pair is removed with the container's network namespace, so an existing link is valid.
    port=$(ports)
    if [ "${GLUE_REPLAYED-}" ] && [ "$port" ] && ip link show "$port" >/dev/null 2>&1; then
        echo "$interface is already connected to $bridge, as port $port"
        exit 0
    fi
    # Remove a port of an earlier start.
    take_away
    # shellcheck disable=SC2086 # a list of words
    ovs-docker add-port "$bridge" "$interface" "$container" ${GLUE_PARAM_OVS_OPTIONS-}
    echo "connected $interface to $bridge"
    ;;
die | destroy) take_away ;;
create) echo "no network namespace yet; the ini file needs events=start,die,destroy" ;;
esac
