#!/bin/sh
# A wrong port, a program on 127.0.0.1 only, a check path that is got status 404: `problems` has the reason and the way out of each.
. "$(dirname "$0")/common.sh"
start_balancer
docker_run a --expose 8080 -l glue_http_80_host=a.example.com "$IMAGE" httpd -f -p 8080
docker_run b --expose 80 -l glue_http_80_host=b.example.com "$IMAGE" httpd -f -p 127.0.0.1:80
docker_run c --expose 80 -l glue_http_80_host=c.example.com -l glue_http_80_check=/healthz "$IMAGE" httpd -f -p 80
all_told() {
    ask_balancer problems >"$d/problems" 2>&1 || true
    has 'refused.*8080' "$d/problems" && has 'refused.*127\.0\.0\.1' "$d/problems" &&
        has 'got status 404' "$d/problems"
}
eventually all_told
