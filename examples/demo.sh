#!/bin/sh
# Demonstrates docker-balancer: starts it and four labelled containers, and sends a request to each route.
# `make demo` installs and builds the requirements. The exit status is 0 only if every response was correct.
set -u
cd "$(dirname "$0")/.."

image=docker-glue-whoami:demo
balancer=${CARGO_TARGET_DIR:-target}/debug/docker-balancer
port=${DEMO_PORT:-8088}
name=glue-demo-$$
dir=$(mktemp -d)
wrong=0
pid=

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '  $ %s\n' "$*"; }

# run NAME [DOCKER-OPTION…] [-- WHOAMI-OPTION…]
run() {
    container=$1
    shift
    show "docker run -d --name $container $* whoami"
    docker run -d --name "$name-$container" --label "demo=$name" "$@" \
        $image --name "$container" >/dev/null || exit 1
}

take_down() {
    say "Removing everything"
    [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid"; }
    containers=$(docker ps -aq --filter "label=demo=$name")
    # shellcheck disable=SC2086 # one word each
    [ -z "$containers" ] || docker rm -f $containers >/dev/null
    rm -rf "$dir"
}
trap take_down EXIT
trap 'exit 130' INT TERM

get() { # HOST PATH: prints the response
    curl -sS --max-time 5 --resolve "$1:$port:127.0.0.1" "http://$1:$port$2"
}

# ask HOST PATH NAME SEEN-PATH: checks which container answers, and the path that it received
ask() {
    show "curl http://$1$2"
    answer=$(get "$1" "$2")
    who=$(printf '%s\n' "$answer" | sed -n 's/^name: //p')
    path=$(printf '%s\n' "$answer" | sed -n 's/^path: //p')
    if [ "$who" = "$3" ] && [ "$path" = "$4" ]; then
        printf '    \033[32m%s\033[0m answered, it saw %s\n' "$who" "$path"
    else
        printf '    \033[31mexpected %s seeing %s, got:\033[0m\n%s\n' "$3" "$4" "$answer"
        wrong=$((wrong + 1))
    fi
}

# wait_for HOST PATH NAME: waits until NAME answers there, for at most ten seconds
wait_for() {
    tries=0
    until get "$1" "$2" 2>/dev/null | grep -q "^name: $3\$"; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || { echo "$1$2 is not served by $3"; wrong=$((wrong + 1)); return; }
        sleep 0.05
    done
}

say "1. Starting docker-balancer (port 80 is mapped to $port, to avoid conflicts)"
show "docker-balancer -w --map-port 80=$port"
"$balancer" -w --map-port "80=$port" --state-dir "$dir/state" --runtime-dir "$dir/run" \
    --constraint "demo=$name" --access-log off 2>"$dir/log" &
pid=$!

say "2. Starting four containers with labels"
run wp1 -l glue_http_80_host=wp1.example.com
run wp2 -l glue_http_80_host=wp2.example.com
run os-ui1 -l glue_http_80_host=openstack.example.com -l glue_http_80_prefix=dashboard/horizon
run os-id1 -l glue_http_80_host=openstack.example.com -l glue_http_80_prefix=identity/keystone

wait_for openstack.example.com /identity/keystone os-id1

say "3. Sending a request to each route"
ask wp1.example.com / wp1 /
ask WP1.example.com /a/page wp1 /a/page
ask wp2.example.com / wp2 /
ask openstack.example.com /dashboard/horizon os-ui1 /dashboard/horizon
ask openstack.example.com /dashboard/horizon/login os-ui1 /dashboard/horizon/login
ask openstack.example.com /identity/keystone/v3 os-id1 /identity/keystone/v3
show "curl -o /dev/null -w '%{http_code}' http://unknown.example.com/"
code=$(curl -s -o /dev/null -w '%{http_code}' -H 'Host: unknown.example.com' "http://127.0.0.1:$port/")
echo "    $code: nothing is served there"
[ "$code" = 404 ] || wrong=$((wrong + 1))

say "4. One route, three containers, shares by weight (100 : 100 : 50)"
run wp1b -l glue_http_80_host=wp1.example.com
run wp1c -l glue_http_80_host=wp1.example.com -l glue_http_80_weight=50
wait_for wp1.example.com / wp1b
wait_for wp1.example.com / wp1c
show "for i in \$(seq 100); do curl http://wp1.example.com/; done | grep ^name: | sort | uniq -c"
spread=$(for _ in $(seq 100); do get wp1.example.com /; done | grep '^name:' | sort | uniq -c)
printf '%s\n' "$spread"
[ "$(printf '%s\n' "$spread" | awk '{print $1, $3}' | tr '\n' ' ')" = "40 wp1 40 wp1b 20 wp1c " ] || {
    echo "    expected 40, 40 and 20"
    wrong=$((wrong + 1))
}

say "5. Stopping one container; the others keep serving"
show "docker stop wp1b"
docker stop -t 2 "$name-wp1b" >/dev/null
spread=$(for _ in $(seq 60); do get wp1.example.com /; done | grep '^name:' | sort | uniq -c)
printf '%s\n' "$spread"
[ "$(printf '%s\n' "$spread" | awk '{n += $1} END {print n}')" = 60 ] || wrong=$((wrong + 1))
printf '%s\n' "$spread" | grep -q wp1b && wrong=$((wrong + 1))

say "Log of docker-balancer"
sed 's/^/  /' "$dir/log"

if [ $wrong -eq 0 ]; then
    say "All responses were correct."
else
    say "$wrong responses were wrong."
    exit 1
fi
