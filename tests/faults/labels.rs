//! Labels with invalid values, and labels of other programs.

use crate::common::{self, balancer::Balancer};
use std::collections::BTreeSet;

const BAD: &[&str] = &[
    "a.test\nserver evil 127.0.0.1:1",
    "a.test\" 'b.test'",
    "a.test; quit",
    "a.test # comment",
    "%[env(HOME)]",
    "$HOME.test ${HOME}",
    "a\\.test\\",
    "a\ttab.test",
];

#[test]
fn invalid_label_is_logged_once_and_breaks_nothing() {
    let Some(docker) = common::find_docker() else { return };
    let balancer = Balancer::plan(&docker).start();
    let long = "x".repeat(64 * 1024);
    // One container for each option, because at most 50 problems of one container are logged.
    let (mut bad, mut wrong) = (Vec::new(), Vec::new());
    for kind in ["host", "prefix", "weight", "timeout", "check", "retry", "health", "bind"] {
        let mut run = balancer.run(kind).label("glue_http_80_host", format!("{kind}.test"));
        for (number, value) in BAD.iter().copied().chain([long.as_str()]).enumerate() {
            // Prefixes and check paths need a leading slash; the rest may be any text, escaped or not.
            let value = if ["prefix", "check"].contains(&kind) {
                format!("/{value}")
            } else {
                value.into()
            };
            let label = format!("glue_http_80_{kind}.n{number}");
            if kind != "host" {
                run = run.label(&format!("glue_http_80_host.n{number}"), "x.test");
            }
            run = run.label(&label, value);
            wrong.push((label, bad.len()));
        }
        bad.push(run.start());
    }
    let _good = balancer.run("good").label("glue_http_80_host", "good.test").start();
    balancer.wait_until_all_serve(&[("good.test", "good saw /"), ("host.test", "host saw /")]);
    // HAProxy may serve before the log reports the problems.
    balancer.wait_for_log(&["+ good.test:80/"]);
    // The line from its level on, without the time.
    let warnings = |label: &str| {
        let start = format!("label {label}=");
        let text = balancer.log();
        let words = text.lines().filter_map(|line| line.split_once(" WARN ").map(|pair| pair.1));
        words.filter(|words| words.contains(&start)).map(str::to_owned).collect::<Vec<_>>()
    };
    for (label, container) in &wrong {
        let (texts, bad) = (warnings(label), &bad[*container]);
        let once: BTreeSet<_> = texts.iter().collect();
        assert!(!texts.is_empty() && once.len() == texts.len(), "{label}: {texts:?}");
        for line in texts {
            assert!(line.contains(&bad.name) && line.contains(&bad.id[..12]), "{line}");
            assert!(line.len() < 1000, "{line}");
        }
    }
    let config = std::fs::read_to_string(balancer.state().join("haproxy.cfg")).unwrap();
    for trace in ["evil", "env(HOME)", "quit", "comment", "$HOME", "xxxx"] {
        assert!(!config.contains(trace), "{trace} in {config}");
    }
    let count = balancer.log().matches("resolved: ").count();
    assert_eq!(count, 0, "{}", balancer.log());
    drop(bad);
    let cleared = || (wrong.len() <= balancer.log().matches("resolved: ").count()).then_some(());
    common::wait_for("all is clear", cleared);
    assert_eq!(balancer.get("good.test").to_string(), "good saw /");
}
