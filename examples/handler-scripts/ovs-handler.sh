#!/bin/sh
# Connects a container that has no network to an Open vSwitch bridge when it starts, and takes the port
# away when it has ended. With at_start=yes also those that were running before docker-glue.
# Usage: ovs-handler.sh INI EVENT CONTAINER-ID    (docker-glue sets GLUE_…)
set -eu

event=$2 container=$3
bridge=${GLUE_PARAM_OVS_BRIDGE:?its ini file needs ovs-bridge}
interface=${GLUE_PARAM_OVS_INTERFACE:-eth0}

# Of one that is gone nothing may be known any more.
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
        # With the container's end it goes by itself, sooner or later.
        ip link delete "$port" 2>/dev/null || true
        echo "port $port is gone"
    done
}

case $event in
start)
    # Before its first process there is no network namespace to put anything into, nor after its last.
    if [ ! -e "/proc/$GLUE_CONTAINER_PID/ns/net" ]; then
        echo "there is no process $GLUE_CONTAINER_PID: has it ended already?"
        exit 0
    fi
    # The pair of links ends with the container's network namespace: one that is there leads there.
    port=$(ports)
    if [ "${GLUE_REPLAYED-}" ] && [ "$port" ] && ip link show "$port" >/dev/null 2>&1; then
        echo "$interface is on $bridge still, as port $port"
        exit 0
    fi
    # What may be left of an earlier life.
    take_away
    # shellcheck disable=SC2086 # a list of words
    ovs-docker add-port "$bridge" "$interface" "$container" ${GLUE_PARAM_OVS_OPTIONS-}
    echo "$interface is on $bridge"
    ;;
die | destroy) take_away ;;
create) echo "there is no network namespace yet: its ini file needs events=start,die,destroy" ;;
esac
