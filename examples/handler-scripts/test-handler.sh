#!/bin/sh
# Prints the event; docker-glue writes the output to its log.
# Usage: test-handler.sh INI EVENT CONTAINER-ID    (the container's description on standard input)
set -eu

if [ $# -ne 3 ]; then
    echo "usage: $0 INI EVENT CONTAINER-ID" >&2
    exit 2
fi
echo "event=[$2] container_id=[$3] name=[$GLUE_CONTAINER_NAME] image=[$GLUE_CONTAINER_IMAGE]" \
    "demo-option=[${GLUE_PARAM_DEMO_OPTION-}]"
