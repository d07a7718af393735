//! Templates: the containers and Swarm objects that they can access, and their output.
//!
//! `tests/template/roster.json` and `swarm.json` are Docker's answers. The goldens are whole, readable files.

use crate::common::roster;
use docker_glue::{
    handlers::{
        Handler,
        template::{TemplateEnv, TemplateRenderer, TemplateSource},
    },
    settings::{GlueTask, HostEnv},
    sources::docker::SwarmState,
};
use serde_json::Value;
use std::{fs, path::Path, sync::Arc};

fn sample_swarm() -> SwarmState {
    let text = fs::read_to_string("tests/template/swarm.json").unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let list = |name: &str| value[name].as_array().unwrap().clone();
    SwarmState { services: list("services"), tasks: list("tasks"), nodes: list("nodes") }
}

fn template_env(folder: &str) -> TemplateEnv {
    let env = [("FROM_ENV", "of the environment"), ("LOG_LEVEL", "info")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    TemplateEnv {
        folder: folder.into(),
        env: Arc::new(env.into()),
        own_container_id: Some(
            "a1b2c3d4e5f60000000000000000000000000000000000000000000000000001".into(),
        ),
        hosts: Arc::default(),
    }
}

/// Returns the rendered template, or its error after `!`.
fn render_inline(text: &str) -> String {
    let source = TemplateSource::Inline(text.to_owned());
    let outside = template_env("tests/template");
    let printed = TemplateRenderer::new(source, outside)
        .render(&roster::sample_containers(), Some(&sample_swarm()));
    printed.map_or_else(|fault| format!("! {fault}"), |(text, _)| text.trim_end().to_owned())
}

#[track_caller]
fn check_expressions(table: &[(&str, &str)]) {
    let wrong: Vec<_> = table
        .iter()
        .map(|(expression, expected)| {
            (expression, render_inline(&format!("{{{{ {expression} }}}}")), expected)
        })
        .filter(|(_, out, expected)| out != *expected)
        .map(|(expression, out, expected)| format!("{expression}\n   is {out}\n  not {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn container_has_all_docker_pygen_attributes() {
    check_expressions(&[
        (
            "containers|map(attribute='name')|join(' ')",
            "shop_web_1 shop_web_2 shop_api_1 dns front",
        ),
        (
            "all_containers|map(attribute='name')|join(' ')",
            "shop_web_1 shop_web_2 shop_api_1 dns front shop_web_0",
        ),
        ("containers[0].id", "a1b2c3d4e5f60000000000000000000000000000000000000000000000000001"),
        ("containers.first.short_id", "a1b2c3d4e5f6"),
        ("containers.first.image", "shop/web:1.2"),
        ("containers.first.status", "running"),
        ("containers.first.health", "healthy"),
        ("containers.last.health", "unknown"),
        ("all_containers.last.status", "exited"),
        ("containers.first.labels['com.docker.compose.service']", "web"),
        ("containers.first.labels.absent == ''", "True"),
        ("containers.first.labels['absent']|default('-')", "-"),
        ("containers.first.labels['absent'].split(',')|length", "1"),
        ("'virtual-host' in containers.first.labels", "True"),
        ("'absent' in containers.first.labels", "False"),
        ("containers.first.labels|length", "3"),
        ("containers.first.labels.items()|list|length", "3"),
        ("containers.first.labels.get('absent', 'x')", "x"),
        ("containers.first.env.VIRTUAL_HOST", "shop.example.com"),
        ("containers.first.env.virtual_host", "shop.example.com"),
        ("containers.first.env.empty == ''", "True"),
        ("containers[3].env|length", "0"),
        ("containers.first.networks.first_value.ip_address", "172.21.0.2"),
        ("containers.first.networks.first.name", "shop"),
        ("containers.first.networks[0].id", "5909"),
        ("containers[2].networks|map(attribute='name')|join(',')", "back,shop"),
        ("containers.first.ports.tcp|join(',')", "443,8080"),
        ("containers.first.ports.TCP.first_value", "443"),
        ("containers[3].ports.udp.first", "53"),
        ("containers.last.ports.tcp.first_value is none", "True"),
        ("containers.first.Name", "shop_web_1"),
        ("containers.first.absent is none", "True"),
        ("containers.first.raw.Config.Hostname", "web1"),
        ("containers|length", "5"),
        ("containers[-1].name", "front"),
        ("containers[1:3]|map(attribute='name')|join(' ')", "shop_web_2 shop_api_1"),
        ("own_container_id[:4]", "a1b2"),
        ("containers.self.name", "shop_web_1"),
        ("containers.healthy|map(attribute='name')|join(' ')", "shop_web_1"),
        ("containers.with_health('Unhealthy').first.name", "shop_web_2"),
        ("containers.with_health('unknown')|length", "3"),
        ("[none, '', 'x']|any", "True"),
        ("[1, 2, 0]|all", "False"),
    ]);
}

#[test]
fn container_has_docker_gen_attributes() {
    check_expressions(&[
        ("containers.first.hostname", "web1"),
        ("containers.first.IP", "172.21.0.2"),
        ("containers.first.gateway", "172.21.0.1"),
        ("containers.first.NetworkMode", "shop"),
        ("containers.first.created", "2024-05-01T10:00:05.000000001Z"),
        ("containers.first.running", "True"),
        ("containers.first.addresses|map(attribute='port')|join(',')", "443,8080"),
        ("containers.first.addresses.last.HostPort", "18080"),
        ("containers.first.addresses.first.host_port is none", "True"),
        ("containers.first.addresses.last.proto", "tcp"),
        ("containers.first.addresses.last.HostIP", "0.0.0.0"),
        ("containers.first.addresses.last.ip6", "fd00::2"),
        ("containers.first.mounts.first.destination", "/cache"),
        ("containers.first.mounts.first.rw", "True"),
        ("containers.first.networks.first.aliases|join(' ')", "web web1"),
        ("containers.first.networks.first.gateway", "172.21.0.1"),
        ("containers.first.networks.first.ip6_address", "fd00::2"),
        ("env.LOG_LEVEL", "info"),
    ]);
}

#[test]
fn matching_follows_docker_pygen() {
    let names = |expression: &str| {
        render_inline(&format!("{{{{ {expression}|map(attribute='name')|join(' ') }}}}"))
    };
    for (expression, expected) in [
        ("containers.matching('front')", "front"),
        (
            "containers.matching('a1b2c3d4e5f60000000000000000000000000000000000000000000000000002')",
            "shop_web_2",
        ),
        ("containers.matching('a1b2')", "shop_web_1 shop_web_2"),
        ("containers.matching('web')", "shop_web_1 shop_web_2"),
        ("all_containers.matching('web')", "shop_web_1 shop_web_2 shop_web_0"),
        ("containers.matching('gateway')", "shop_api_1 dns"),
        ("containers.matching('nobody')", ""),
        ("containers.matching('')", ""),
        ("containers.matching('web').not_matching('shop_web_1')", "shop_web_2"),
        ("containers.not_matching('web')", "shop_api_1 dns front"),
        ("containers[2].networks.matching('77aa')", "back"),
        ("containers[2].networks.matching(containers.first)", "shop"),
        ("containers[2].networks.matching(containers.first.networks)", "shop"),
        ("containers[2].networks.matching(containers.first.networks.first)", "shop"),
        ("containers[2].networks.not_matching('shop')", "back"),
        ("services.matching('web')", "shop_web"),
        ("services.matching('svc1')", "shop_web"),
        ("tasks.matching('shop_web')", "shop_web.1.task1"),
        ("tasks.matching('web')", "shop_web.1.task1"),
        ("nodes.matching('alpha')", "alpha"),
    ] {
        assert_eq!(names(expression), expected, "{expression}");
    }
}

#[test]
fn swarm_has_all_docker_pygen_attributes() {
    check_expressions(&[
        ("services.first.name", "shop_web"),
        ("services.first.short_id", "svc1aaaaaa"),
        ("services.first.version", "42"),
        ("services.first.image", "shop/web:1.2"),
        ("services.first.labels.public", "yes"),
        ("services.first.ports.tcp.first", "8080"),
        ("services.first.ports.udp.first", "53"),
        ("services.first.networks|length", "1"),
        ("services.first.networks.first.name", "shop_default"),
        ("services.first.networks.first.gateway", "10.0.1.2"),
        ("services.first.networks.first.ip_addresses|join(' ')", "10.0.1.3"),
        ("services.first.ingress.name", "ingress"),
        ("services.first.ingress.gateway", "10.255.0.3"),
        ("services.first.ingress.ip_addresses.first", "10.255.0.7"),
        ("services.first.ingress.ports.tcp.first", "80"),
        ("services.first.ingress.ports.udp|length", "0"),
        ("services.first.tasks|length", "1"),
        ("all_services.first.tasks|length", "2"),
        ("services.self.name", "shop_web"),
        ("tasks.self.id", "task1"),
        ("tasks.first.name", "shop_web.1.task1"),
        ("all_services.first.tasks.last.name", "shop_web.node1.task2"),
        ("tasks.first.slot", "1"),
        ("tasks.first.node_id", "node1"),
        ("tasks.first.container_id[:4]", "a1b2"),
        ("tasks.first.desired_state", "running"),
        ("tasks.with_status('RUNNING')|length", "1"),
        ("tasks.first.labels['com.docker.swarm.service.name']", "shop_web"),
        ("tasks.first.labels['com.docker.swarm.task.id']", "task1"),
        ("tasks.first.env.A", "1"),
        ("tasks.first.networks.first.is_ingress", "True"),
        ("tasks.first.networks.last.labels.k", "v"),
        ("nodes.first.name", "alpha"),
        ("nodes.first.state", "ready"),
        ("nodes.first.address", "192.0.2.1"),
        ("nodes.first.role", "manager"),
        ("nodes.first.availability", "active"),
        ("nodes.first.labels.zone", "b"),
        ("nodes.first.platform.os", "linux"),
        ("nodes.first.engine_version", "20.10.24"),
        ("nodes.first.raw.Spec.Role", "manager"),
    ]);
}

#[test]
fn missing_swarm_gives_empty_services_and_requests_it() {
    for (text, expected, flag) in [
        ("{{ services|length }}{{ nodes|length }}", "00\n", true),
        ("{{ containers|length }}", "5\n", false),
    ] {
        let source = TemplateSource::Inline(text.to_owned());
        let printed = TemplateRenderer::new(source, template_env(""))
            .render(&roster::sample_containers(), None);
        assert_eq!(printed, Ok((expected.to_owned(), flag)));
    }
}

#[test]
fn functions_match_docker_gen() {
    check_expressions(&[
        (
            "containers|group_by('env.VIRTUAL_HOST')|keys|join(' ')",
            "shop.example.com shop.example.com,www.shop.example.com",
        ),
        ("containers|group_by('labels.context-path', '/')|keys|join(' ')", "/ /api"),
        ("(containers|group_by_multi('env.VIRTUAL_HOST', ','))['shop.example.com']|length", "2"),
        ("(containers|group_by_label('com.docker.compose.service')).web.last.name", "shop_web_2"),
        (
            "containers|group_by_label('com.docker.compose.service', 'none')|keys|join(' ')",
            "api none web",
        ),
        ("(containers|where('labels.com.docker.compose.service', 'api')).first.name", "shop_api_1"),
        ("containers|where_not('image', 'shop/web:1.2')|length", "3"),
        ("containers|where_exist('env.VIRTUAL_HOST')|length", "2"),
        ("containers|where_not_exist('env.VIRTUAL_HOST')|length", "3"),
        (
            "containers|where_any('env.VIRTUAL_HOST', ',', ['www.shop.example.com', 'x'])|length",
            "1",
        ),
        (
            "containers|where_all('env.VIRTUAL_HOST', ',', ['www.shop.example.com', 'x'])|length",
            "0",
        ),
        ("containers|where_label_exists('backup')|length", "1"),
        ("containers|where_label_does_not_exist('backup')|length", "4"),
        (
            "containers|where_label_value_matches('com.docker.compose.service', '^(web|db)$')|length",
            "2",
        ),
        (
            "containers|where_label_value_matches('x', '(')",
            "! template:1: found open group without closing ')'",
        ),
        (
            "(containers|where('image', 'shop/web:1.2')).matching('shop_web_2').first.name",
            "shop_web_2",
        ),
        (
            "containers|sort_objects_by('name')|map(attribute='name')|join(' ')",
            "dns front shop_api_1 shop_web_1 shop_web_2",
        ),
        ("(containers|sort_objects_by('created', reverse=true)).first.name", "shop_web_1"),
        ("[1, 2, 3]|intersect([2, 3, 4])|join(' ')", "2 3"),
        ("['example', 'example.com', 'com']|closest('www.example.com')", "example.com"),
        ("coalesce(none, containers.first.absent, 'x')", "x"),
        ("containers.first.labels|contains('virtual-host')", "True"),
        ("when(1 == 1, 'yes', 'no')", "yes"),
        ("'T'|parse_bool", "True"),
        ("'yes'|parse_bool", "! template:1: 'yes' is neither true nor false"),
        ("'a b/c?'|query_escape", "a+b%2Fc%3F"),
        ("'abc'|sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("{'a': [1, '<']}|json", "{\"a\":[1,\"<\"]}"),
        ("containers.first.ports|json", "{\"tcp\":[443,8080],\"udp\":[]}"),
        ("('{\"a\": {\"b\": [1, 2]}}'|parse_json).a.b[1]", "2"),
        ("'a,b,c'|split_n(',', 2)|join(' ')", "a b,c"),
        ("'Ab'|to_lower ~ 'Ab'|to_upper", "abAB"),
        ("'http://x/'|trim_prefix('http://')|trim_suffix('/')", "x"),
        ("'a\\nb'|comment('# ')", "# a\n# b"),
        ("'x'|must_be_one_of(['x', 'y'])", "x"),
        ("'z'|must_be_one_of(['x', 'y'])", "! template:1: 'z' is not one of x, y"),
        ("'8'|must_be_int(1, 10) + 1", "9"),
        ("'11'|must_be_int(1, 10)", "! template:1: 11 is not between 1 and 10"),
        ("'a b'|nginx_quote", "\"a b\""),
        ("'plain'|nginx_quote", "plain"),
        ("'say \"x\"'|nginx_quote", "'say \"x\"'"),
        ("dir('.')|join(' ')", "app.conf base.tmpl child.tmpl roster.json snapshots swarm.json"),
        ("exists('roster.json')", "True"),
        ("exists('nothing')", "False"),
        ("read_config('FROM_ENV')", "of the environment"),
        ("read_config('KEY', 'app.conf')", "value = with more"),
        ("read_config('KEY', path='app.conf', single_config=true)|length", "42"),
        ("read_config('ABSENT', 'app.conf', 'else')", "else"),
        ("read_config('FROM_ENV', fallback_to_env=false) is none", "True"),
        ("'a-b'.replace('-', '_').upper()", "A_B"),
        ("dict(a=1).a", "1"),
        ("'a b'|urlencode", "a%20b"),
        ("namespace(x=1).x", "1"),
    ]);
}

#[test]
fn template_error_names_its_line() {
    for (text, expected) in [
        ("a\n{{ b", "! template:2: unexpected end of input, expected end of variable block"),
        ("a\n{% for x in y %}", "! template:2: unexpected end of input, expected end of block"),
        ("\n\n{{ containers|nothing }}", "! template:3: unknown filter: filter nothing is unknown"),
        ("{{ nothing.at.all }}", "! template:1: undefined value: `nothing` is undefined"),
        (
            "{% include 'nothing.tmpl' %}",
            "! template:1: template not found: tried to include non-existing template 'nothing.tmpl'",
        ),
        (
            "{% include '../Cargo.toml' %}",
            "! template:1: template not found: tried to include non-existing template '../Cargo.toml'",
        ),
    ] {
        assert_eq!(render_inline(text), expected, "{text}");
    }
}

/// The expected texts are the output of Jinja2 3.1.6, run with docker-pygen's own code on the same containers. They are
/// compared without the line end at the end, which Jinja2 removes and docker-glue writes.
#[test]
fn expressions_render_like_jinja2() {
    let text = fs::read_to_string("tests/jinja2/expressions.json").unwrap();
    let all: Vec<(String, String)> = serde_json::from_str(&text).unwrap();
    let wrong: Vec<_> = all
        .into_iter()
        .map(|(template, expected)| {
            let source = TemplateSource::Inline(template.clone());
            let mut printer = TemplateRenderer::new(source, template_env("tests/template"));
            let out = printer.render(&roster::sample_containers(), None);
            (template, expected, out.map_or_else(|fault| fault.to_string(), |(text, _)| text))
        })
        .filter(|(_, expected, printed)| {
            printed != expected && printed.strip_suffix('\n') != Some(expected)
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// docker-pygen's own example, and the output of docker-pygen for it.
#[test]
fn docker_pygen_example_renders_identically() {
    let source = TemplateSource::File("tests/jinja2/nginx.example".into());
    let printed = TemplateRenderer::new(source, template_env("tests/jinja2"))
        .render(&roster::sample_containers(), None);
    assert_eq!(printed.unwrap().0, fs::read_to_string("tests/jinja2/nginx.conf").unwrap());
}

#[test]
fn none_in_output_is_an_error_with_expression() {
    let hint = "which cannot be written into a file; set a default, as in x|default('-', true), \
                   or skip it with an if";
    for (text, expression, line) in [
        ("{{ containers.first.absent }}", "containers.first.absent", 1),
        (
            "a\n\nserver {{ containers.last.networks.first_value.nope }}:80;",
            "containers.last.networks.first_value.nope",
            3,
        ),
        (
            "{{ containers.first.addresses.first.host_port }}",
            "containers.first.addresses.first.host_port",
            1,
        ),
        (
            "{{ 'http://' ~ containers.first.absent ~ '/' }}",
            "'http://' ~ containers.first.absent ~ '/'",
            1,
        ),
        (
            "{% set x = 'http://%s' % containers.first.absent %}",
            "set x = 'http://%s' % containers.first.absent",
            1,
        ),
        ("{{ '%s:%s' % (none, 1) }}", "'%s:%s' % (none, 1)", 1),
        ("{{ '%s'|format(none) }}", "'%s'|format(none)", 1),
        ("{{ '{}'.format(none) }}", "'{}'.format(none)", 1),
        ("{{ ['a', none]|join(',') }}", "['a', none]|join(',')", 1),
        (
            "{{ containers|map(attribute='absent')|join }}",
            "containers|map(attribute='absent')|join",
            1,
        ),
        ("{{ none|upper }}", "none|upper", 1),
        ("{{ none|string }}", "none|string", 1),
        ("{{ none|nginx_quote }}", "none|nginx_quote", 1),
        ("{{ read_config('ABSENT') }}", "read_config('ABSENT')", 1),
        ("{% macro m() %}{{ none }}{% endmacro %}\n{{ m() }}", "none", 1),
        ("{% filter upper %}{{ none }}{% endfilter %}", "none", 1),
    ] {
        let expected =
            format!("! template:{line}: `{expression}` is none or contains none, {hint}");
        assert_eq!(render_inline(text), expected);
    }
    check_expressions(&[
        ("containers.first.absent|default('-', true)", "-"),
        ("containers.first.absent or '-'", "-"),
        ("containers.first.absent is none", "True"),
        ("'a' if containers.first.absent", ""),
    ]);
}

#[test]
fn undefined_value_renders_empty_and_is_named() {
    for (text, expected, undefined) in [
        (
            "a{{ contianers }}",
            "a\n",
            Some("template:1: undefined value: `contianers` is undefined"),
        ),
        (
            "a\n{{ containers.first.raw.Confg }}",
            "a\n",
            Some("template:2: undefined value: `containers.first.raw.Confg` is undefined"),
        ),
        ("{{ 'a' if false }}b{{ nope|default('c') }}", "bc\n", None),
        ("{% if nope %}{% endif %}{{ containers.first.labels.absent }}b", "b\n", None),
    ] {
        let mut printer =
            TemplateRenderer::new(TemplateSource::Inline(text.to_owned()), template_env(""));
        let out = printer.render(&roster::sample_containers(), None).unwrap().0;
        assert_eq!((out.as_str(), printer.first_undefined()), (expected, undefined), "{text}");
    }
}

#[test]
fn unsupported_expression_error_has_a_remedy() {
    for (expression, expected) in [
        (
            "[].append(1)",
            "! template:1: unknown method append: lists and dicts cannot be changed; create a new \
             one, as in {% set ns.all = ns.all + [x] %} after {% set ns = namespace(all=[]) %}, or \
             in dict(d, key=value)",
        ),
        ("'%s' % ()", "! template:1: missing an argument for format spec at offset '1'"),
        ("'a' % ", "! template:1: unexpected end of variable block"),
    ] {
        assert_eq!(render_inline(&format!("{{{{ {expression} }}}}")), expected);
    }
}

/// The central part of docker-gen's template for nginx, as translated in docs/src/migrate/docker-gen.md.
#[test]
fn docker_gen_virtual_host_template_renders() {
    let text = "{% for host, list in containers|group_by_multi('env.VIRTUAL_HOST', ',')|items %}\n\
        upstream {{ host }} {\n\
        {% for c in list %}\n\
        {% set port = coalesce(c.env.VIRTUAL_PORT, '8080') %}\n\
        {% set address = c.addresses|where('port', port)|first %}\n\
        {% for n in c.networks %}\n  server {{ n.ip }}:{{ address.port }}; # {{ c.name }}\n{% endfor %}\n\
        {% endfor %}\n}\n{% endfor %}\n";
    let expected = "upstream shop.example.com {\n  server 172.21.0.2:8080; # shop_web_1\n  server 172.21.0.3:8080; # shop_web_2\n}\n\
        upstream www.shop.example.com {\n  server 172.21.0.3:8080; # shop_web_2\n}";
    assert_eq!(render_inline(text), expected);
    check_expressions(&[
        (
            "coalesce(env.ABSENT, containers.first.env.ABSENT, containers.first.labels.absent, none, 'x')",
            "x",
        ),
        ("coalesce(env.ABSENT) is none", "True"),
        ("coalesce(0, 1)", "0"),
        ("(containers.first.addresses|where('port', '8080')).first.port", "8080"),
        ("containers.first.addresses|where_not('port', '8080')|length", "1"),
        ("(containers|where('running', 'true'))|length", "5"),
        ("containers.first.addresses|where_any('port', ',', [8080])|length", "1"),
        ("['80', 443]|intersect([80, '443'])|join(' ')", "80 443"),
        ("8080|must_be_one_of(['80', '8080'])", "8080"),
        ("containers.first.networks.first.ip", "172.21.0.2"),
        ("containers.first.networks.first.IP6", "fd00::2"),
        ("services.first.networks.first.ip", "10.0.1.3"),
        ("tasks.first.networks.last.ip", "10.0.1.3"),
    ]);
}

#[test]
fn raw_has_docker_py_attributes() {
    check_expressions(&[
        ("containers.first.raw.attrs.Config.Hostname", "web1"),
        ("containers.first.raw.Config.Hostname", "web1"),
        ("containers.first.raw.name ~ ' ' ~ containers.first.raw.status", "shop_web_1 running"),
        ("containers.first.raw.attrs == containers.first.raw.attrs", "True"),
        ("containers.first.raw.ports.keys()|join(' ')", "443/tcp 8080/tcp"),
        ("containers.first.raw|length == containers.first.raw.attrs|length", "True"),
        ("containers.first.raw.attrs.absent is defined", "False"),
        ("services.first.raw.attrs.Spec.Name", "shop_web"),
        ("nodes.first.raw.attrs.Spec.Role", "manager"),
        ("('{\"b\": 1, \"a\": 2}'|parse_json).keys()|join", "ba"),
    ]);
}

#[test]
fn line_ends_and_blank_lines_match_jinja2() {
    for (text, kept, dropped) in [
        ("a\r\n\r\n{{ 1 }}\r\n", "a\n\n1\n", "a\n1\n"),
        ("\u{feff}a\n \n\nb", "a\n \n\nb\n", "a\nb\n"),
        ("a\n\n", "a\n", "a\n"),
        ("\n\na\n  {% if true %}\n\n  b\n  {% endif %}\n\n", "\n\na\n\n  b\n", "a\n  b\n"),
        ("", "", ""),
    ] {
        let printer =
            || TemplateRenderer::new(TemplateSource::Inline(text.to_owned()), template_env(""));
        let print = |mut renderer: TemplateRenderer| {
            renderer.render(&roster::sample_containers(), None).unwrap().0
        };
        let out = (print(printer()), print(printer().drop_blank_lines()));
        assert_eq!((out.0.as_str(), out.1.as_str()), (kept, dropped), "{text:?}");
    }
}

#[test]
fn include_extends_break_and_continue_work() {
    let child = || {
        let source = TemplateSource::File("tests/template/child.tmpl".into());
        TemplateRenderer::new(source, template_env("tests/template"))
    };
    let printed = |mut printer: TemplateRenderer| {
        printer.render(&roster::sample_containers(), None).unwrap().0
    };
    let kept = "# base\nhosts:\n  shop_web_1\n\n  shop_web_2\n\n# end\n";
    assert_eq!(printed(child()), kept);
    let dropped = "# base\nhosts:\n  shop_web_1\n  shop_web_2\n# end\n";
    assert_eq!(printed(child().drop_blank_lines()), dropped);
}

#[test]
fn example_templates_match_goldens() {
    for name in ["nginx", "nginx-label", "hosts"] {
        check_golden(name, &fs::read_to_string(format!("examples/templates/{name}.tmpl")).unwrap());
    }
}

/// Returns the containers with labels and aliases that would inject text into the file if they were not escaped.
fn hostile_containers() -> docker_glue::sources::ContainerMap {
    let text = fs::read_to_string("tests/template/roster.json").unwrap();
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    let nginx = "x; } server { listen 8081; location / { root /etc; autoindex on; } } server { server_name y";
    let long = vec!["a".repeat(60); 4].join(".");
    let attacks = [
        ("virtual-host", nginx),
        ("virtual-host", "x\n# {{ 1 }}\n} server { listen 8082; root /;"),
        ("virtual-host", "*.example.com ~^(?<x>.*)$"),
        ("virtual-host", &long),
        ("context-path", "/ { root /etc; autoindex on; } location /x"),
        ("context-path", "~ \\.php$"),
        ("context-path", "/a\n}\nserver { listen 8083; root /;"),
        ("context-path", "/$uri"),
        ("context-path", "/"),
        ("context-path", "/b:80"),
        ("com.docker.compose.service", "x\n6.6.6.6 registry.internal"),
        ("com.docker.compose.service", "registry.internal"),
        // This container has no address, and nginx refuses an upstream without a server.
        ("context-path", "/nowhere"),
    ];
    let attacked = attacks.iter().enumerate().map(|(number, (label, value))| {
        let mut quoted_value = all[0].clone();
        let id = quoted_value["Id"].as_str().unwrap();
        quoted_value["Id"] = format!("{}9{number:03}", &id[..60]).into();
        quoted_value["Name"] = format!("/evil_{number}").into();
        quoted_value["Config"]["Labels"][*label] = (*value).into();
        let networks = quoted_value["NetworkSettings"]["Networks"].as_object_mut().unwrap();
        if *value == "/nowhere" {
            networks.clear();
        }
        for network in networks.values_mut() {
            network["Aliases"] =
                serde_json::json!(["evil\n6.6.6.6 mirror.internal", "a b", "plain"]);
        }
        quoted_value
    });
    all.iter().cloned().chain(attacked).map(|value| roster::container_description(&value)).collect()
}

/// `tests/glue/nginx.rs` also loads the results into nginx and dnsmasq.
#[test]
fn example_templates_escape_hostile_labels() {
    for name in ["nginx", "nginx-label", "hosts"] {
        let text = fs::read_to_string(format!("examples/templates/{name}.tmpl")).unwrap();
        let printed = TemplateRenderer::new(TemplateSource::Inline(text), template_env(""))
            .render(&hostile_containers(), None);
        let text = printed.unwrap().0;
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let harmful = ["6.6.6.6", "autoindex", "808", "$uri", ".internal", "root", "{{"];
            let found: Vec<_> = harmful.iter().filter(|text| line.contains(*text)).collect();
            assert!(found.is_empty() || line.starts_with("    server 172."), "{name}: {line}");
        }
        check_golden_named(&format!("{name}-attacked"), &text);
    }
}

#[test]
fn hostname_path_and_one_line_guards_work() {
    check_expressions(&[
        ("'a.test' is hostname", "True"),
        ("'a b' is hostname", "False"),
        ("containers.first.labels['virtual-host'] is hostname", "True"),
        ("containers.first.labels.absent is hostname", "False"),
        ("none is hostname or 1 is hostname or none is path", "False"),
        ("'/api' is path", "True"),
        ("'/a;b' is path", "False"),
        ("['a', 'b c', '', 'd.e']|select('hostname')|join(' ')", "a d.e"),
        ("'a\\nb'|one_line", "a b"),
        ("12|one_line", "12"),
        (
            "none|one_line",
            "! template:1: `none|one_line` is none or contains none, which cannot be written into \
             a file; set a default, as in x|default('-', true), or skip it with an if",
        ),
    ]);
}

/// The templates in docker-pygen's documentation.
#[test]
fn docker_pygen_documented_templates_render_as_documented() {
    check_golden(
        "readme",
        "
{% set server_name = 'test.example.com' %}
upstream {{ server_name }} {
    {% for container in containers
          if  container.networks.first_value.ip_address
          and container.ports.tcp.first_value %}
        # {{ container.name }}
        server {{ container.networks.first_value.ip_address }}:{{ container.ports.tcp.first_value }};
    {% endfor %}
}
",
    );
}

fn check_golden(name: &str, text: &str) {
    check_golden_named(name, &render_inline(text));
}

fn check_golden_named(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings
        .set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/template/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn example_handler_files_are_valid() {
    let args = ["docker-glue", "check"].map(Into::into);
    let (_, settings) = GlueTask::from_args(&args, HostEnv::default()).unwrap();
    let mut files: Vec<_> = fs::read_dir("examples/docker-glue.d").unwrap().collect();
    files.retain(|result| {
        fs::read_to_string(result.as_ref().unwrap().path()).unwrap().contains("class=template")
    });
    assert_eq!(files.len(), 5);
    for file in files {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let read = Handler::parse(path.with_extension(""), &text, &settings);
        assert!(read.is_ok_and(|handler| handler.is_some()), "{}", path.display());
    }
}
