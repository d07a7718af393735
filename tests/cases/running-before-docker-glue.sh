#!/bin/sh
# With at_start=yes a script hears of what runs when docker-glue starts, and of what went while it was away.
. "$(dirname "$0")/common.sh"
printf '[handler]\nclass=script\nevents=start,die,destroy\nat_start=yes\n[params]\nscript=s.sh\n' >"$d/a.ini"
cat >"$d/s.sh" <<I
#!/bin/sh
echo "\$2 \$GLUE_CONTAINER_NAME" >>$d/seen
I
chmod +x "$d/s.sh"
docker_run a "$IMAGE" sleep 600
start_glue
eventually has "^start $n-a" "$d/seen"
stop_glue
docker rm -f "$n-a"
docker_run b "$IMAGE" sleep 600
start_glue
eventually has "^start $n-b" "$d/seen"
eventually has "^d[a-z]* $n-a" "$d/seen"
