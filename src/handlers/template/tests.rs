//! Tests of template handlers: params, filters, and the target file.

use super::{
    Template, TemplateEnv, TemplateSource,
    compiled_template::BlankLines,
    container::ContainerViews,
    context::TemplateContext,
    debounce::Debounce,
    filter::TemplateFilter,
    limit::RenderLimits,
    target::{FileOwner, TargetChange, TargetFile},
    value::Dict,
};
use crate::{
    handlers::{
        Handler, HandlerContext, HandlerKind,
        ini::{Ini, IniError},
        mailbox::{HandlerMessage, create_mailbox},
        source::GlueSource,
        stats::HandlerStats,
    },
    model::{container::ContainerId, source_name::SourceName},
    settings::{GlueSettings, GlueTask, HostEnv, RunMode},
    sources::{ContainerMap, Description, certificate::CertificateLists},
};
use minijinja::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

fn check_settings() -> GlueSettings {
    settings_with(&[])
}

fn settings_with(sources: &[&str]) -> GlueSettings {
    let options = sources.iter().flat_map(|source| ["--source", source]);
    let args = ["docker-glue"].into_iter().chain(options).chain(["check"]);
    let args: Vec<_> = args.map(Into::into).collect();
    GlueTask::from_args(&args, HostEnv::default()).unwrap().1
}

fn parse_template(params: &str) -> Result<Template, IniError> {
    parse_template_with(params, &check_settings())
}

fn parse_template_with(params: &str, settings: &GlueSettings) -> Result<Template, IniError> {
    let ini = Ini::parse("web.ini", &format!("[handler]\nclass=template\n[params]\n{params}"))?;
    Template::from_params(&ini.params, settings)
}

#[test]
fn target_in_a_source_that_cannot_notify_it_is_refused() {
    let sources = ["unix:///a?name=here", "swarm+unix:///a?name=swarm", "etcd://a?name=fleet"];
    let settings = settings_with(&sources);
    for (param, expected) in [
        ("signal=web@here:HUP", ""),
        ("signal=web@other:HUP", ""),
        ("signal=web@swarm:HUP", "web.ini:6: signal=web@swarm: a manager notifies no single"),
        ("signal=web@fleet", "web.ini:6: signal=web@fleet: nothing is notified over etcd"),
        ("restart=web@here, web@swarm", ""),
        ("restart=web, db@fleet", "web.ini:6: restart=db@fleet: nothing is notified over etcd"),
    ] {
        let result = parse_template_with(&format!("template=# x\ntarget=x\n{param}"), &settings);
        let found = result.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(found.starts_with(expected) && found.is_empty() == expected.is_empty(), "{found}");
    }
}

#[test]
fn container_has_its_machine_and_otherwise_that_of_its_source() {
    for (inspection, expected) in [
        ("{}", "node2 10.0.0.2 False False"),
        (r#"{"Node":{"Name":"","IP":""}}"#, "node2 10.0.0.2 False False"),
        (r#"{"Node":{"Name":"n7","IP":"10.0.0.7"}}"#, "n7 10.0.0.7 False False"),
        (r#"{"Node":{"Name":"n7","IP":""},"leaving":true}"#, "n7 10.0.0.2 True False"),
        (r#"{"Node":{"Name":"n7","IP":""},"lost":true}"#, "n7 10.0.0.2 False True"),
    ] {
        let source: SourceName = "node2".parse().unwrap();
        let id = ContainerId::in_source(source.clone(), "0".repeat(64));
        let description =
            Description { id: id.clone(), name: "web".into(), json: inspection.into() };
        let mut views = ContainerViews::default();
        let hosts = [(source, "10.0.0.2".to_owned())].into();
        views.update_views(&[(id, Arc::new(description))].into(), &hosts);
        let containers = views.containers();
        let dict = containers[0].downcast_object_ref::<Dict>().unwrap();
        let found = ["node", "host", "leaving", "lost"];
        let found = found.map(|name| dict.find_value(name).unwrap().to_string());
        assert_eq!(found.join(" "), expected, "{inspection}");
    }
}

#[test]
fn params_are_parsed_with_defaults() {
    let read = |more: &str| {
        parse_template(&format!("template=# {{{{ 1 }}}}\ntarget=/tmp/x\n{more}")).unwrap()
    };
    let plain = read("");
    assert_eq!(plain.interval, (Duration::from_millis(500), Duration::from_secs(2)));
    assert_eq!(plain.target.mode, None);
    assert_eq!(
        (plain.blanks, read("keep_blank_lines=no").blanks),
        (BlankLines::Keep, BlankLines::Drop)
    );
    let full = read(
        "mode=0640\nowner=0:0\ncheck=nginx -t -c {}\nnotify=sh -c 'a b'\nrestart=a, b\n\
         signal=web:HUP, db:15, front, old USR1\ninterval=1 5\nrepeat=90\nkeep_blank_lines=yes\n\
         only_exposed=1\nonly_published=1\ninclude_stopped=1\nfilter=label=a=b, network=x\n",
    );
    assert_eq!(full.target.mode, Some(0o640));
    assert_eq!(full.check.unwrap(), ["nginx", "-t", "-c", "{}"]);
    assert_eq!(full.notify_targets.notify.unwrap(), ["sh", "-c", "a b"]);
    assert_eq!(full.notify_targets.restart, ["a", "b"]);
    let signal = |target: &str, signal: &str| (target.to_owned(), signal.to_owned());
    let signals =
        [signal("web", "HUP"), signal("db", "15"), signal("front", "HUP"), signal("old", "USR1")];
    assert_eq!(full.notify_targets.signal, signals);
    assert_eq!(full.interval, (Duration::from_secs(1), Duration::from_secs(5)));
    assert_eq!(full.repeat, Duration::from_secs(90));
    assert_eq!(read("interval=3").interval, (Duration::from_secs(3), Duration::from_secs(3)));
}

#[test]
fn param_error_names_its_line() {
    let message = |params: &str| parse_template(params).unwrap_err().to_string();
    for (params, expected) in [
        ("target=x", "web.ini: the key template is missing in [params]"),
        ("template=# x", "web.ini: the key target is missing in [params]"),
        (
            "template=# x\ntargte=x",
            "web.ini:5: unknown key targte in [params]; did you mean target?",
        ),
        (
            "target=x\ntemplate=# {{ a",
            "web.ini:5: template:1: unexpected end of input, expected end of variable block",
        ),
        ("template=# a\n  {% if %}\ntarget=x", "web.ini:4: template:2: unexpected end of block"),
        (
            "template=nothing.tmpl\ntarget=x",
            "web.ini:4: nothing.tmpl: cannot be read: No such file or directory (os error 2)",
        ),
        (
            "template=http://a.test/x\ntarget=x",
            "web.ini:4: a template is a file, or a text after a #; download http://a.test/x into a \
             file first",
        ),
        (
            "template=# x\ntarget=x\nmode=rw",
            "web.ini:6: mode must be an octal number such as 0644, not \"rw\"",
        ),
        (
            "template=# x\ntarget=x\nowner=nobody-at-all",
            "web.ini:6: unknown user \"nobody-at-all\"",
        ),
        ("template=# x\ntarget=x\ncheck=a 'b", "web.ini:6: a quote is not closed in \"a 'b\""),
        (
            "template=# x\ntarget=x\nnotify=nginx -t && nginx -s reload",
            "web.ini:6: && needs a shell, but no shell is used: write notify=sh -c 'nginx -t && \
             nginx -s reload', or quote it if it is meant literally",
        ),
        (
            "template=# x\ntarget=x\ncheck=nginx -t -c {} 2>&1 | grep ok",
            "web.ini:6: > needs a shell, but no shell is used: write check=sh -c 'nginx -t -c {} \
             2>&1 | grep ok', or quote it if it is meant literally",
        ),
        (
            "template=# x\ntarget=x\nsignal=web:HUPP",
            "web.ini:6: a signal must be CONTAINER:SIGNAL such as web:HUP, not \"web:HUPP\"",
        ),
        (
            "template=# x\ntarget=x\ninterval=3 1",
            "web.ini:6: interval must be MIN or MIN MAX in seconds such as 0.5 2, not \"3 1\"",
        ),
        (
            "template=# x\ntarget=x\nfilter=lable=x",
            "web.ini:6: unknown filter lable; did you mean label?",
        ),
        (
            "template=# x\ntarget=x\nfilter=web",
            "web.ini:6: a filter must be KEY=VALUE such as label=web, not \"web\"",
        ),
    ] {
        assert_eq!(message(params), expected);
    }
}

/// Returns the output within the limits, or the error.
fn render_limited(text: &str, limits: RenderLimits) -> String {
    let template_env = TemplateEnv::default();
    let page = TemplateSource::Inline(text.to_owned()).compile(BlankLines::Keep, &template_env);
    let root = TemplateContext::new(
        (&ContainerViews::default(), &CertificateLists::default()),
        &TemplateFilter::default(),
        None,
        &template_env,
    );
    let rendered = page.and_then(|page| page.with_limits(limits).render_text(&root));
    rendered.map_or_else(|fault| fault.to_string(), |text| format!("{} bytes", text.len()))
}

#[test]
fn template_with_too_many_steps_is_an_error() {
    let few = RenderLimits { steps: 100_000, ..RenderLimits::default() };
    let message = "template:1: rendering takes more than 100000 steps; check nested loops";
    for (text, expected) in [
        ("{% for a in range(10000) %}{% endfor %}x", "2 bytes"),
        ("{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}", message),
        (
            "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
            message,
        ),
    ] {
        assert_eq!(render_limited(text, few), expected, "{text}");
    }
}

/// Runs on a test thread, whose stack is 2 MiB.
#[test]
fn tag_of_very_many_tokens_is_an_error() {
    let message = "template:2: a tag has more than 1000 names, operators and brackets";
    for (start, link, end) in [
        ("", "not ", "x"),
        ("", "-", "1"),
        ("x", ".a", ""),
        ("x", "|upper", ""),
        ("x", "[0]", ""),
        ("x", "()", ""),
        ("1", " + 1", ""),
        ("1", " ~ 1", ""),
        ("1", " ** 1", ""),
        ("1", " and 1", ""),
        ("1", " is odd", ""),
        ("1", " if 1 else 1", ""),
        ("", "(", ""),
        ("", "[", ""),
    ] {
        let tag = |links: usize| format!("a\n{{{{ {start}{}{end} }}}}", link.repeat(links));
        assert_eq!(render_limited(&tag(1_001), RenderLimits::default()), message, "{link}");
        // A shorter tag is parsed or rejected, but does not end the program.
        let _ = TemplateSource::Inline(tag(300)).compile(BlankLines::Keep, &TemplateEnv::default());
    }
}

#[test]
fn template_beyond_time_limit_is_an_error() {
    let none = RenderLimits { time: Duration::ZERO, ..RenderLimits::default() };
    assert_eq!(render_limited("{{ 1 }}", none), "template:1: rendering was stopped after 0s");
    assert_eq!(render_limited("{{ 1 }}", RenderLimits::default()), "2 bytes");
}

#[test]
fn text_beyond_size_limit_is_an_error() {
    let small = RenderLimits { bytes: 1000, ..RenderLimits::default() };
    let message = "template: the output is longer than 1000 bytes";
    for (text, expected) in [
        ("{% for a in range(99) %}{{ '0123456789' }}{% endfor %}", "991 bytes"),
        ("{% for a in range(101) %}{{ '0123456789' }}{% endfor %}", message),
        ("{% for a in range(101) %}0123456789{% endfor %}", message),
        (
            "{% set x %}{% for a in range(999) %}{{ '0123456789' }}{% endfor %}{% endset %}",
            "template:1: the output is longer than 1000 bytes",
        ),
    ] {
        assert_eq!(render_limited(text, small), expected, "{text}");
    }
}

#[test]
fn value_that_grows_without_end_is_an_error() {
    let text = "template:1: a text of more than 16777216 bytes is too long";
    let list = "template:1: a list of more than 1000000 items is too long";
    let file = "template:1: the output is longer than 16777216 bytes";
    for (start, next, expected) in [
        ("'x'", "ns.x ~ ns.x", text),
        ("'x'", "ns.x + ns.x", text),
        ("'x'", "[ns.x, ns.x]|join", text),
        ("'x'", "','.join([ns.x, ns.x])", text),
        ("'xx'", "ns.x|replace('x', ns.x)", text),
        ("'xx'", "ns.x.replace('x', ns.x)", text),
        ("'x'", "'%s%s' % (ns.x, ns.x)", text),
        ("'x'", "'%s%s'|format(ns.x, ns.x)", text),
        ("'x'", "'{0}{0}'.format(ns.x)", text),
        ("'x'", "'{a}{a}'.format(a=ns.x)", text),
        ("'x\\n'", "ns.x|indent(ns.x, first=true)", text),
        ("'x\\n'", "ns.x|comment(ns.x)", text),
        ("[1]", "ns.x + ns.x", list),
        ("'x'", "twice(ns.x)", file),
    ] {
        let template = format!(
            "{{% macro twice(x) %}}{{{{ x }}}}{{{{ x }}}}{{% endmacro %}}{{% set ns = namespace(x={start}) %}}\
             {{% for i in range(99) %}}{{% set ns.x = {next} %}}{{% endfor %}}"
        );
        assert_eq!(render_limited(&template, RenderLimits::default()), expected, "{next}");
    }
}

#[test]
fn missing_program_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let mut settings = check_settings();
    settings.machine.env.insert("PATH".to_owned(), format!("{path}:/bin"));
    fs::write(folder.path().join("plain"), "").unwrap();
    let message = |key: &str, command: &str| {
        let text = format!("[handler]\n[params]\ntemplate=# x\ntarget=x\n{key}={command}");
        let ini = Ini::parse("web.ini", &text).unwrap();
        let read = Template::from_params(&ini.params, &settings);
        read.map_or_else(|error| error.to_string(), |_| String::new()).replace(&path, "DIR")
    };
    for (key, command, expected) in [
        ("notify", "sh -c 'x && y'", ""),
        ("check", "/bin/sh {}", ""),
        ("notify", "ngixn -s reload", "web.ini:5: no ngixn in DIR, /bin"),
        ("check", "plain {}", "web.ini:5: DIR/plain is not executable (chmod +x DIR/plain)"),
        ("notify", "/absent/x", "web.ini:5: no such file: /absent/x"),
        ("notify", "absent/x", "web.ini:5: no absent/x in ."),
    ] {
        assert_eq!(message(key, command), expected);
    }
}

fn sample_containers() -> Vec<Value> {
    let text = fs::read_to_string("tests/template/roster.json").unwrap();
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let roster: ContainerMap =
        all.iter().map(|inspection| container_description(inspection, "")).collect();
    let mut views = ContainerViews::default();
    views.update_views(&roster, &BTreeMap::new());
    views.containers()
}

fn container_description(
    inspection: &serde_json::Value,
    more: &str,
) -> (ContainerId, Arc<Description>) {
    let id = ContainerId::new(inspection["Id"].as_str().unwrap());
    let name = inspection["Name"].as_str().unwrap().trim_start_matches('/').to_owned() + more;
    (id.clone(), Arc::new(Description { id, name, json: inspection.to_string().into() }))
}

fn name_of(value: &Value) -> &str {
    value.downcast_object_ref::<Dict>().and_then(|dict| dict.text("name")).unwrap()
}

#[test]
fn filters_match_the_containers_that_docker_ps_matches() {
    let all = sample_containers();
    for (params, expected) in [
        ("", "shop_web_1 shop_web_2 shop_api_1 dns front"),
        ("only_exposed=1", "shop_web_1 shop_web_2 shop_api_1 dns"),
        ("only_published=1", "shop_web_1 dns"),
        ("include_stopped=1", "shop_web_1 shop_web_2 shop_api_1 dns front shop_web_0"),
        ("filter=status=exited", "shop_web_0"),
        ("filter=name=web", "shop_web_1 shop_web_2"),
        ("filter=name=^dns$", "dns"),
        ("filter=name=_1$", "shop_web_1 shop_api_1"),
        ("filter=id=a1b2", "shop_web_1 shop_web_2"),
        ("filter=label=backup", "shop_api_1"),
        ("filter=label=com.docker.compose.service=web", "shop_web_1 shop_web_2"),
        ("filter=label=com.docker.compose.service=web, label=backup", ""),
        ("filter=health=unhealthy", "shop_web_2"),
        ("filter=health=none", "shop_api_1 dns front"),
        ("filter=network=bridge, network=77aa", "shop_api_1 dns"),
        ("filter=volume=cache", "shop_web_1"),
        ("filter=ancestor=nginx", "front"),
        ("filter=ancestor=shop/web, name=2", "shop_web_2"),
        ("filter=expose=53/udp", "dns"),
        ("filter=expose=5000-6000", "shop_api_1"),
        ("filter=publish=8080/tcp", "shop_web_1"),
    ] {
        let ini = Ini::parse("a.ini", &format!("[handler]\n[params]\n{params}\n")).unwrap();
        let filter = TemplateFilter::from_params(&ini.params).unwrap();
        let taken: Vec<_> = all.iter().filter(|value| filter.matches(value)).map(name_of).collect();
        assert_eq!(taken.join(" "), expected, "{params}");
    }
}

#[test]
fn only_changed_containers_get_a_new_view() {
    let text = fs::read_to_string("tests/template/roster.json").unwrap();
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let mut roster: ContainerMap =
        all.iter().map(|inspection| container_description(inspection, "")).collect();
    let mut views = ContainerViews::default();
    views.update_views(&roster, &BTreeMap::new());
    let pointers = |views: &ContainerViews| -> Vec<_> {
        let same = |value: &Value| std::ptr::from_ref(value.downcast_object_ref::<Dict>().unwrap());
        views.containers().iter().map(|value| (name_of(value).to_owned(), same(value))).collect()
    };
    let before = pointers(&views);
    roster.extend([container_description(&all[1], "_renamed")]);
    roster.remove(&ContainerId::new(all[0]["Id"].as_str().unwrap()));
    views.update_views(&roster, &BTreeMap::new());
    let after = pointers(&views);
    let kept: Vec<_> = after.iter().filter(|pair| before.contains(pair)).collect();
    assert_eq!((before.len(), after.len(), kept.len()), (6, 5, 4));
    assert_eq!(after[0].0, "shop_web_2_renamed");
}

#[test]
fn target_is_replaced_atomically_and_keeps_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.conf");
    let target = |mode| TargetFile { path: path.clone(), mode, owner: None };
    let write = |target: TargetFile, text: &str| {
        target.stage_text(text).unwrap().map(|staged| staged.swap_in().unwrap()).is_ok()
    };
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    assert!(write(target(None), "a\n"));
    assert_eq!(mode(), 0o644);
    let inode = fs::metadata(&path).unwrap().ino();
    assert!(!write(target(None), "a\n"));
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(write(target(None), "b\n"));
    assert_eq!((mode(), fs::read_to_string(&path).unwrap().as_str()), (0o600, "b\n"));
    assert!(write(target(Some(0o640)), "c\n"));
    assert_eq!(mode(), 0o640);
    // A staged file that is not swapped in leaves nothing behind.
    drop(target(None).stage_text("d\n").unwrap());
    let link = folder.path().join("link");
    symlink("out.conf", &link).unwrap();
    assert!(write(TargetFile { path: link.clone(), mode: None, owner: None }, "e\n"));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&path).unwrap(), "e\n");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    // A link whose target does not exist stays a link, too.
    fs::remove_file(&path).unwrap();
    assert!(write(TargetFile { path: link.clone(), mode: None, owner: None }, "f\n"));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&path).unwrap(), "f\n");
}

#[test]
fn mode_and_owner_are_applied_to_an_unchanged_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.conf");
    let target = |mode, owner: Option<&str>| TargetFile {
        path: path.clone(),
        mode,
        owner: owner.map(|owner| FileOwner::parse(owner).unwrap()),
    };
    target(None, None).stage_text("a\n").unwrap().unwrap().swap_in().unwrap();
    let found = || fs::metadata(&path).unwrap();
    let (inode, user, group) = (found().ino(), found().uid(), found().gid());
    let mine = format!("{user}:{group}");
    let another = if user == 0 { "1:2".to_owned() } else { mine.clone() };
    for (mode, owner, expected) in [
        (None, None, TargetChange::Nothing),
        (Some(0o644), Some(mine.as_str()), TargetChange::Nothing),
        (Some(0o600), None, TargetChange::Attributes),
        (Some(0o600), None, TargetChange::Nothing),
        (None, None, TargetChange::Nothing),
        (Some(0o640), Some(&another), TargetChange::Attributes),
        (Some(0o640), Some(&another), TargetChange::Nothing),
    ] {
        let written = target(mode, owner).stage_text("a\n").unwrap().unwrap_err();
        assert_eq!(written, expected, "{mode:?} {owner:?}");
    }
    assert_eq!((found().ino(), found().mode() & 0o7777), (inode, 0o640));
    assert_eq!(format!("{}:{}", found().uid(), found().gid()), another);
}

#[test]
fn target_that_is_no_regular_file_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(at("folder")).unwrap();
    nix::unistd::mkfifo(at("pipe").as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for name in ["folder", "pipe", "socket"] {
        symlink(name, at(&format!("link-{name}"))).unwrap();
    }
    symlink("/dev/null", at("link-device")).unwrap();
    for (path, what) in [
        (at("folder"), "a directory"),
        (at("link-folder"), "a directory"),
        (at("pipe"), "a pipe"),
        (at("link-pipe"), "a pipe"),
        (at("socket"), "a socket"),
        (at("link-socket"), "a socket"),
        ("/dev/null".into(), "a device"),
        (at("link-device"), "a device"),
    ] {
        let message =
            format!("{path} is {what}, not a file; use docker-glue render to print a template");
        let error = parse_template(&format!("template=# x\ntarget={path}\n")).unwrap_err();
        assert_eq!(error.to_string(), format!("web.ini:5: {message}"));
        // The path may have become a pipe or device later.
        let target = TargetFile { path: path.into(), mode: None, owner: None };
        assert_eq!(target.stage_text("x").unwrap_err().to_string(), message);
    }
}

#[test]
fn mounted_target_is_written_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.conf");
    fs::write(&path, "a longer text than the new one\n").unwrap();
    let inode = || fs::metadata(&path).unwrap().ino();
    let before = inode();
    for (text, mode) in [("short\n", None), ("somewhat longer\n", Some(0o600))] {
        let target = TargetFile { path: path.clone(), mode, owner: None };
        target.stage_text(text).unwrap().unwrap().write_in_place().unwrap();
        assert_eq!((inode(), fs::read_to_string(&path).unwrap().as_str()), (before, text));
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Times in milliseconds: changes, and the expected notifications.
#[track_caller]
fn check_debounce(least: u64, most: u64, changes: &[u64], expected: &[u64]) {
    let start = Instant::now();
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
    let mut batch = Debounce::new((least, most));
    let mut message = Vec::new();
    let mut tell = |batch: &mut Debounce, until: Option<Instant>| {
        if let Some(due) = batch.due_at()
            && until.is_none_or(|until| due <= until)
        {
            message.push(u64::try_from((due - start).as_millis()).unwrap());
            batch.clear_pending();
        }
    };
    for change in changes {
        tell(&mut batch, Some(at(*change)));
        batch.record_change(at(*change));
    }
    tell(&mut batch, None);
    assert_eq!(message, expected, "{least:?} {most:?} {changes:?}");
}

#[test]
fn close_changes_are_notified_together() {
    check_debounce(500, 2000, &[], &[]);
    check_debounce(500, 2000, &[100], &[600]);
    check_debounce(500, 2000, &[0, 300, 600], &[1100]);
    check_debounce(500, 2000, &[0, 400, 800, 1200, 1600, 1900], &[2000]);
    check_debounce(500, 2000, &[0, 400, 800, 1200, 1600, 1999, 2100], &[2000, 2600]);
    check_debounce(500, 2000, &[0, 1000], &[500, 1500]);
    check_debounce(500, 500, &[0, 200, 400], &[500]);
    check_debounce(0, 0, &[0, 1, 2], &[0, 1, 2]);
    check_debounce(0, 2000, &[0, 1], &[0, 1]);
}

#[tokio::test]
async fn thousand_waiting_messages_are_one_render() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.ini");
    let text =
        "[handler]\nclass=template\n[params]\ntarget=out\ntemplate=# {{ containers|length }}\n";
    let handler = Handler::parse(file, text, &check_settings()).unwrap().unwrap();
    let HandlerKind::Template(template) = handler.kind.clone() else { panic!("it is a template") };
    let tally = Arc::new(HandlerStats::new("all"));
    let (mut sender, mailbox) = create_mailbox(Arc::clone(&tally));
    (0..1000).for_each(|_| sender.send(HandlerMessage::NoneEvent));
    drop(sender);
    let (_tell, roster) = watch::channel(Arc::default());
    let (_tell, leaving) = watch::channel(Arc::default());
    let work = HandlerContext {
        handler,
        command: RunMode::Watch,
        mailbox,
        containers: roster,
        leaving,
        certificates: watch::channel(Arc::default()).1,
        sources: GlueSource::all_of(&check_settings()),
        settings: Arc::new(check_settings()),
        stats: Arc::clone(&tally),
        none_trigger: None,
    };
    template.run(work).await;
    assert_eq!(fs::read_to_string(folder.path().join("out")).unwrap(), "0\n");
    assert_eq!(tally.to_string(), "1 done, 0 failed");
}
