#!/bin/sh
# HAProxy 2.6 makes a table with an entry for each file that it may open: the built-in `global` limits them.
. "$(dirname "$0")/common.sh"
start_balancer
in_file() { has '^ *fd-hard-limit [0-9]' "$d/s/haproxy.cfg"; }
eventually in_file
