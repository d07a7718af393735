#!/bin/sh
# A client that closes its sending side after the request gets the answer of a slow program all the same.
. "$(dirname "$0")/common.sh"
start_balancer
docker_run a -l glue_http_80_host=a.example.com "$IMAGE" sh -c '
    mkdir -p /w/cgi-bin
    printf "#!/bin/sh\nsleep 1\nprintf \"Content-Type: text/plain\\r\\n\\r\\nok\\n\"\n" >/w/cgi-bin/slow
    chmod +x /w/cgi-bin/slow
    echo ok >/w/index.html
    exec httpd -f -p 80 -h /w'
eventually gets a.example.com ok
answer=$(printf 'GET /cgi-bin/slow HTTP/1.0\r\nHost: a.example.com\r\n\r\n' |
    docker run --rm -i --network host "$IMAGE" nc 127.0.0.1 "$PORT")
echo "$answer"
case $answer in HTTP/1.?\ 200*) ;; *) exit 1 ;; esac
