#!/bin/sh
# The core of nearly every template for nginx, as docker-gen's users write it.
. "$(dirname "$0")/common.sh"
cat >"$d/nginx.tmpl" <<'T'
{% for host, list in containers|group_by_multi('env.VIRTUAL_HOST', ',')|items %}
upstream {{ host }} {
{% for c in list %}
{% set port = coalesce(c.env.VIRTUAL_PORT, '80') %}
{% set address = c.addresses|where('port', port)|first %}
{% for n in c.networks %}
  server {{ n.ip }}:{{ address.port }}; # {{ c.name }}
{% endfor %}
{% endfor %}
}
{% endfor %}
T
docker_run web --expose 80 --expose 443 -e "VIRTUAL_HOST=$n.example.com" "$IMAGE" sleep 600
ip=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$n-web")
$GLUE render "$d/nginx.tmpl" >"$d/out"
cat "$d/out"
has "^upstream $n.example.com {" "$d/out"
has "^  server $ip:80; # $n-web\$" "$d/out"
