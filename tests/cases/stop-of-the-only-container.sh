#!/bin/sh
# The only container of a route ignores its stop signal and serves until it is killed; then another one comes, or the same again.
# Nothing is lost meanwhile: it serves until its end, and requests wait for what comes after.
# Usage: stop-of-the-only-container.sh [restart|recreate]
. "$(dirname "$0")/common.sh"
serve='trap "" TERM; mkdir -p /w; echo ok >/w/index.html; httpd -f -p 80 -h /w'
label=glue_http_80_host=app.example.com
start_balancer
docker_run a --stop-timeout 3 -l "$label" "$IMAGE" sh -c "$serve"
eventually gets app.example.com ok
(while [ ! -e "$d/end" ]; do
    get app.example.com
    sleep 0.05
done >"$d/got") &
asker=$!
eventually has ok "$d/got"
case ${1:-restart} in
restart) docker restart -t 3 "$n-a" ;;
recreate)
    docker create --name "$n-b" -l "case=$n" -l "$label" "$IMAGE" sh -c "$serve"
    docker stop -t 3 "$n-a"
    docker rm "$n-a"
    docker start "$n-b"
    ;;
esac
: >"$d/before"
eventually gets app.example.com ok
: >"$d/end"
wait "$asker"
sort "$d/got" | uniq -c
! has lost "$d/got"
