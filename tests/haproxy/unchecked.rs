//! Which parts of a file HAProxy checks before the file is replaced. A real HAProxy (`HAPROXY_BIN`, or else the
//! installed one) gives the same verdict on the parts as on the whole file.

use crate::common::{haproxy, story};
use docker_glue::{
    haproxy::{
        check::BinaryId,
        check_scope::{self, AcceptedConfig, CheckScope, UncheckedSections},
        config::{Backend, Config},
        files::ConfigFiles,
        render::{BaseConfig, RenderContext, render_files, render_for_check},
    },
    routing::decide::{self, DecideState},
};
use std::{
    fs,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

const A: &str = "a 172.17.0.2 glue_http_80_host=a.test\n";
const A_LIGHTER: &str = "a 172.17.0.2 glue_http_80_host=a.test glue_http_80_weight=5\n";
const B: &str = "b 172.17.0.3 glue_http_80_host=b.test glue_http_80_check=/healthz\n";
const BOTH: &str = "a 172.17.0.2 glue_http_80_host=a.test\n\
                    b 172.17.0.3 glue_http_80_host=b.test glue_http_80_check=/healthz\n";
const PORT: &str = "a 172.17.0.2 glue_http_80_host=a.test\n\
                    b 172.17.0.3 glue_http_80_host=b.test glue_http_80_bind=81\n";

/// A base file that sends some requests to a generated backend.
const REFERRING: &str = "defaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  \
                         timeout server 1s\nfrontend theirs\n  bind 127.0.0.1:8999\n  \
                         use_backend a.test:80 if { path /a }\n";

struct Case {
    folder: tempfile::TempDir,
    frame: RenderContext,
    before: Config,
    after: Config,
}

impl Case {
    fn new(base: Option<&str>, before: &str, after: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = |text: &str| BaseConfig::File { path: "base.cfg".into(), text: text.to_owned() };
        let (generations, built_in) = (folder.path().join("gen"), story::default_frame().base);
        let base = base.map_or(built_in, text);
        let frame = RenderContext { base, generations, ..story::default_frame() };
        Self { frame, before: config_of(before), after: config_of(after), folder }
    }

    fn scope(&self, later: Duration, by: Option<&BinaryId>) -> CheckScope {
        let now = Instant::now();
        let mut unchecked = UncheckedSections::default();
        unchecked.set_accepted(Some(AcceptedConfig::new(
            &self.before,
            &self.frame,
            haproxy_binary(),
            now,
        )));
        unchecked.mark_changed(check_scope::changed_backends(&self.before, &self.after));
        unchecked.select_scope(&self.after, &self.frame, by, now + later)
    }

    /// Returns whether HAProxy accepts the files.
    fn accepts(&self, haproxy: &Path, files: &ConfigFiles) -> bool {
        let generation = self.frame.generations.join(&files.generation.name);
        fs::create_dir_all(&generation).unwrap();
        for (name, text) in &files.generation.files {
            fs::write(generation.join(name), text).unwrap();
        }
        let path = self.folder.path().join("haproxy.cfg");
        fs::write(&path, &files.config).unwrap();
        Command::new(haproxy).arg("-c").arg("-f").arg(path).output().unwrap().status.success()
    }
}

fn config_of(story: &str) -> Config {
    let world = story::parse_world(story);
    let now = Instant::now();
    let decided = decide::decide(&world, DecideState::default(), now, &story::default_rules());
    story::build_config(&decided.routes)
}

fn haproxy_binary() -> BinaryId {
    BinaryId::from_path(Path::new("/proc/self/exe")).unwrap()
}

fn scope_names(scope: &CheckScope) -> String {
    match scope {
        CheckScope::Full => "whole".to_owned(),
        CheckScope::Skip => "nothing".to_owned(),
        CheckScope::Partial(part) => part.backends.keys().cloned().collect::<Vec<_>>().join(" "),
    }
}

#[test]
fn only_changed_parts_are_checked() {
    let soon = Duration::from_secs(1);
    for (base, before, after, expected) in [
        (None, A, A, "nothing"),
        (None, A, BOTH, "b.test:80"),
        (None, A, A_LIGHTER, "a.test:80"),
        (None, BOTH, A, "nothing"),
        (None, A, B, "b.test:80"),
        (None, A, PORT, "whole"),
        (Some(REFERRING), A, A, "a.test:80"),
        (Some(REFERRING), A, BOTH, "a.test:80 b.test:80"),
        (Some(REFERRING), BOTH, B, "b.test:80"),
    ] {
        let case = Case::new(base, before, after);
        let scope = case.scope(soon, Some(&haproxy_binary()));
        assert_eq!(scope_names(&scope), expected, "{before}{after}");
    }
}

#[test]
fn whole_is_checked_without_a_valid_earlier_check() {
    let case = Case::new(None, A, BOTH);
    let (soon, late) = (Duration::from_secs(1), Duration::from_hours(1));
    let other = BinaryId::from_path(Path::new("/")).unwrap();
    for (later, by, expected) in [
        (soon, Some(haproxy_binary()), "b.test:80"),
        (late, Some(haproxy_binary()), "whole"),
        (soon, Some(other), "whole"),
        (soon, None, "whole"),
    ] {
        assert_eq!(scope_names(&case.scope(later, by.as_ref())), expected);
    }
    let unknown = UncheckedSections::default();
    let scope =
        unknown.select_scope(&case.after, &case.frame, Some(&haproxy_binary()), Instant::now());
    assert_eq!(scope, CheckScope::Full, "nothing was accepted");
}

/// A change during the write of a file is checked with the next file.
#[test]
fn change_during_a_write_is_checked_by_the_next_write() {
    let Case { frame, before, after, .. } = Case::new(None, A, BOTH);
    let now = Instant::now();
    let mut unchecked = UncheckedSections::default();
    unchecked.set_accepted(Some(AcceptedConfig::new(&before, &frame, haproxy_binary(), now)));
    unchecked.mark_changed(["a.test:80".to_owned()]);
    let scope = |sections: &UncheckedSections| {
        scope_names(&sections.select_scope(&after, &frame, Some(&haproxy_binary()), now))
    };
    let first = unchecked.take_snapshot();
    unchecked.mark_changed(["b.test:80".to_owned()]);
    assert_eq!((scope(&first), scope(&unchecked)), ("a.test:80".into(), "b.test:80".into()));
    unchecked.invalidate();
    assert_eq!(scope(&unchecked), "whole");
}

#[test]
fn haproxy_judges_part_and_whole_alike() {
    let Some(haproxy) = haproxy::find_haproxy() else { return };
    for (base, before, after, is_accepted) in [
        (None, A, BOTH, true),
        (None, A, A_LIGHTER, true),
        (None, A, B, true),
        (Some(REFERRING), A, BOTH, true),
        (Some(REFERRING), BOTH, B, false),
    ] {
        let mut case = Case::new(base, before, after);
        check_part_and_whole(&haproxy, &case, is_accepted);
        // One of the changed sections is invalid.
        let name = "bad.test:80".to_owned();
        let other = case.after.backends.values().next().unwrap();
        let lines = format!("{}\n  nonsense", other.lines);
        let bad = Backend { lines, ..Backend::clone(other) };
        case.after.backends.insert(name, Arc::new(bad));
        check_part_and_whole(&haproxy, &case, false);
    }
}

fn check_part_and_whole(haproxy: &Path, case: &Case, is_accepted: bool) {
    let CheckScope::Partial(part) = case.scope(Duration::ZERO, Some(&haproxy_binary())) else {
        panic!("there is no part")
    };
    let whole = render_files(&case.after, &case.frame);
    assert_eq!(case.accepts(haproxy, &whole), is_accepted, "{}", whole.config);
    let part = render_for_check(&part, &case.frame);
    assert_eq!(case.accepts(haproxy, &part), is_accepted, "{}", part.config);
}
