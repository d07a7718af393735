# Sourced by the cases beside it, which exit 0 when all is right.
# BAL, GLUE: the programs; IMAGE: one with busybox; PORT: a free one.
# shellcheck shell=sh
set -eu
: "${BAL:=docker-balancer}" "${GLUE:=docker-glue}" "${IMAGE:=busybox}" "${PORT:=18470}"
n=case-$$ d=$(mktemp -d) pids=''

end() {
    set +e
    for pid in $pids; do
        kill "$pid" && wait "$pid"
    done
    docker ps -aq --filter "label=case=$n" | xargs -r docker rm -f
    docker network rm "$n"
    rm -rf "$d"
} >/dev/null 2>&1
trap end EXIT
trap 'exit 1' INT TERM

# docker_run NAME WORDS...: a container of this case.
docker_run() {
    name=$n-$1
    shift
    docker run -d --name "$name" -l "case=$n" "$@"
}

# start_balancer OPTIONS...
start_balancer() {
    $BAL -w --constraint "case=$n" --state-dir "$d/s" --runtime-dir "$d/r" \
        --map-port "80=$PORT" --bind-address 127.0.0.1 "$@" >"$d/log" 2>&1 &
    pids="$pids $!"
}

# ask_balancer WORDS...: a command to the balancer that runs.
ask_balancer() { $BAL --runtime-dir "$d/r" --state-dir "$d/s" "$@"; }

# start_glue WORDS...
start_glue() {
    $GLUE --handler-paths "$d" --script-paths "$d" -w >>"$d/glue.log" 2>&1 &
    glue=$!
    pids="$pids $glue"
}

stop_glue() {
    kill "$glue"
    wait "$glue" || true
}

# get HOST: the body, or "lost".
get() {
    curl -sfm 15 -H "Host: $1" "http://127.0.0.1:$PORT/" || echo lost
}

# eventually COMMAND...: waits until it succeeds.
eventually() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || { echo "waited in vain: $*"; cat "$d"/*log; return 1; }
        sleep 0.1
    done
}

gets() { [ "$(get "$1")" = "$2" ]; }
has() { grep -q -- "$1" "$2"; }
