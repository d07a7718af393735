#!/bin/sh
# Builds the images that the demo and the tests run:
#   docker-glue-whoami:TAG         examples/whoami and nothing else
#   docker-glue-whoami:TAG-health  the same with a HEALTHCHECK
# No registry is needed. Up-to-date images are kept.
#
# Usage: tests/whoami-image.sh [TAG]    (TAG is "test" by default)
set -eu

tag=${1:-test}
image=docker-glue-whoami:$tag
label=docker-glue.whoami.sha256
cd "$(dirname "$0")/.."

# Builds the binary and prints its path. It is static, as the image has no libc, and built with --target, as the flags
# would otherwise break procedural macros.
build() {
    triple=$(rustc -vV | sed -n 's/^host: //p')
    RUSTFLAGS='-C target-feature=+crt-static' \
        cargo build --quiet --release -p whoami --target "$triple" >&2
    echo "${CARGO_TARGET_DIR:-target}/$triple/release/whoami"
}

# up_to_date IMAGE: returns whether the image contains this binary.
up_to_date() {
    held=$(docker image inspect -f "{{index .Config.Labels \"$label\"}}" "$1" 2>/dev/null) || return 1
    [ "$held" = "$sum" ]
}

# import IMAGE [CHANGE...]: packs the binary and imports the image, unless it is up to date.
import() {
    name=$1
    shift
    up_to_date "$name" && return
    tar -c --owner=0 --group=0 --mode=755 -C "$(dirname "$binary")" whoami |
        docker import "$@" -c 'ENTRYPOINT ["/whoami"]' -c 'EXPOSE 80' -c "LABEL $label=$sum" \
            - "$name" >/dev/null
    echo "made image $name"
}

binary=$(build)
sum=$(sha256sum "$binary" | cut -d ' ' -f 1)
import "$image"
import "$image-health" \
    -c 'HEALTHCHECK --interval=1s --timeout=1s --retries=1 CMD ["/whoami", "healthcheck"]'
