#!/bin/sh
# A template's command fails. It is owed, tried again without any event, after a restart too, until it succeeds.
# Usage: notify-fails-once.sh [running|restarted]
. "$(dirname "$0")/common.sh"
cat >"$d/a.ini" <<I
[handler]
class=template
[params]
template=# upstream
target=$d/out
notify=$d/tell
interval=0
I
cat >"$d/tell" <<I
#!/bin/sh
echo try >>$d/tries
[ -e $d/up ] && echo told >>$d/told
I
chmod +x "$d/tell"
start_glue
eventually test -s "$d/tries"
if [ "${1:-running}" = restarted ]; then
    stop_glue
    : >"$d/up"
    start_glue
else
    : >"$d/up"
fi
eventually test -s "$d/told"
