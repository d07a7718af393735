#!/bin/sh
# Scans each TLS policy with testssl.sh and with openssl s_client, and prints what they find. A container has three hosts,
# one for each value of the label tls_policy; all are on loopback.
#
# Usage: tests/tls-scan.sh    (make tls-scan)
# BALANCER names a docker-balancer that is already built. Needs Docker, openssl, and Debian's testssl.sh.
set -eu
cd "$(dirname "$0")/.."

NAME=docker-glue-tls-scan-$$
PORT=18443
POLICIES='modern intermediate old'
balancer=${BALANCER:-target/debug/docker-balancer}
work=$(mktemp -d)

say() { echo "tls-scan: $*" >&2; }

clean() {
    [ -z "${pid:-}" ] || kill -TERM "$pid" 2>/dev/null || true
    [ -z "${pid:-}" ] || wait "$pid" 2>/dev/null || true
    docker rm -f "$NAME" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

for tool in docker openssl testssl; do
    command -v "$tool" >/dev/null || {
        say "$tool is missing (apt-get install docker.io openssl testssl.sh)"
        exit 1
    }
done
[ -x "$balancer" ] || cargo build --quiet --bin docker-balancer
sh tests/whoami-image.sh scan

# A key and a certificate for the three hosts.
# shellcheck disable=SC2086 # a list of words
names=$(printf 'DNS:%s.test,' $POLICIES)
mkdir "$work/certificates"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=scan \
    -addext "subjectAltName=${names%,}" -keyout "$work/key.pem" -out "$work/certificate.pem" 2>/dev/null
cat "$work/certificate.pem" "$work/key.pem" >"$work/certificates/scan.pem"
chmod 600 "$work/certificates/scan.pem"

labels=''
for policy in $POLICIES; do
    labels="$labels --label glue_http_80_host.$policy=$policy.test --label glue_http_80_tls_policy.$policy=$policy"
done
# shellcheck disable=SC2086 # a list of words
docker run -d --name "$NAME" --label "scan=$NAME" --label glue_http_80_tls=only $labels \
    docker-glue-whoami:scan >/dev/null

"$balancer" --watch --constraint "scan=$NAME" --certificates "$work/certificates" \
    --map-port "443=$PORT" --map-port 80=18080 \
    --config-file "$work/haproxy.cfg" --state-dir "$work/state" --runtime-dir "$work/run" >"$work/log" 2>&1 &
pid=$!
deadline=$(($(date +%s) + 60))
until openssl s_client -connect "127.0.0.1:$PORT" -servername old.test </dev/null >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$deadline" ] || {
        cat "$work/log" >&2
        exit 1
    }
    sleep 0.2
done

# versions HOST: the versions of TLS that the host accepts.
versions() {
    for version in tls1 tls1_1 tls1_2 tls1_3; do
        if openssl s_client -connect "127.0.0.1:$PORT" -servername "$1" -"$version" -cipher 'ALL:@SECLEVEL=0' \
            </dev/null >/dev/null 2>&1; then
            printf ' %s' "$version"
        fi
    done
}

for policy in $POLICIES; do
    host=$policy.test
    echo "== $policy: openssl accepts$(versions "$host")"
    # Its exit status is the number of findings. The certificate is the scan's own, so its trust is not judged.
    testssl --quiet --color 0 --warnings off --openssl-timeout 10 --ip 127.0.0.1 \
        --protocols --server-preference --server-defaults --vulnerable --severity LOW \
        --jsonfile "$work/$policy.json" "https://$host:$PORT" >/dev/null 2>&1 || true
    sed -n 's/^ *"id" *: *"\(.*\)",$/\1/p; s/^ *"severity" *: *"\(.*\)",$/\1/p; s/^ *"finding" *: *"\(.*\)".*$/\1/p' \
        "$work/$policy.json" | paste - - - | sort -u | sed 's/^/  /'
done
