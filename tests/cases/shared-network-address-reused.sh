#!/bin/sh
# An app in the network of a container without labels, which is removed. A stranger that gets its address answers nothing.
. "$(dirname "$0")/common.sh"
serve='mkdir -p /w; echo $0 >/w/index.html; exec httpd -f -p 80 -h /w'
docker network create "$n"
start_balancer --wait-for-start 1s
docker_run vpn --network "$n" "$IMAGE" sleep 600
docker_run app --network "container:$n-vpn" -l glue_http_80_host=app.example.com "$IMAGE" sh -c "$serve" app
eventually gets app.example.com app
address=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$n-vpn")
docker rm -f "$n-vpn"
docker_run other --network "$n" "$IMAGE" sh -c "$serve" other
[ "$address" = "$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$n-other")" ]
for _ in $(seq 20); do
    got=$(get app.example.com)
    [ "$got" != other ]
done
eventually gets app.example.com lost
