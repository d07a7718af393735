#!/bin/sh
# What a client that is not trusted says of itself in forwarding headers does not reach the container.
. "$(dirname "$0")/common.sh"
start_balancer
docker_run a -l glue_http_80_host=a.example.com "$IMAGE" sh -c '
    mkdir -p /w/cgi-bin
    printf "#!/bin/sh\nprintf \"Content-Type: text/plain\\r\\n\\r\\n\"\nenv\n" >/w/cgi-bin/env
    chmod +x /w/cgi-bin/env
    echo ok >/w/index.html
    exec httpd -f -p 80 -h /w'
eventually gets a.example.com ok
set --
for header in X-Real-IP X-Forwarded-Prefix X-Forwarded-Server X-Forwarded-Ssl X-Forwarded-User \
    X-Forwarded-Uri X-Original-URL X-Rewrite-URL X-Scheme Front-End-Https Proxy Forwarded \
    X_Forwarded_For X_Real_IP X_Forwarded_Host; do
    set -- "$@" -H "$header: stranger"
done
curl -sfm 15 -o "$d/env" -H 'Host: a.example.com' "$@" "http://127.0.0.1:$PORT/cgi-bin/env"
cat "$d/env"
! has stranger "$d/env"
