#!/bin/sh
# Checks whether nginx accepts a file that is included in its http { … }: for check= of a template.
# Usage: check-nginx.sh FILE
set -eu

conf=$(mktemp)
trap 'rm -f "$conf"' EXIT
printf 'error_log stderr;\npid %s.pid;\nevents {}\nhttp {\n    access_log off;\n    include %s;\n}\n' "$conf" "$1" >"$conf"
nginx -q -t -c "$conf"
