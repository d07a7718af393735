//! What costs its label alone.

use super::{Fences, check, check_fenced, one, with};

#[test]
fn options_are_read_in_any_case_with_blanks_around() {
    for on in ["1", "true", "yes", "on", "True", "+ON+"] {
        check(
            &format!("glue_http_80_prefix=a glue_http_80_strip_prefix={on}"),
            &["*:80/a/ -> 80 strip"],
            &[],
        );
    }
    for off in ["0", "false", "no", "off"] {
        check(
            &format!("glue_http_80_prefix=a glue_http_80_strip_prefix={off}"),
            &["*:80/a/ -> 80"],
            &[],
        );
    }
    let is = |option: &str, said: &str| {
        let said = format!("a.test:80/ -> 80{said}");
        check(&format!("glue_http_80_host=a.test glue_http_80_{option}"), &[&said], &[]);
    };
    is("weight=0", " weight 0");
    is("weight=+7+", " weight 7");
    is("weight=256", " weight 256");
    is("check=tcp", "");
    is("check=off", " unchecked");
    is("check=/", " check /");
    is("check=/healthz/a//b?full=1&x=a/b?", " check /healthz/a//b?full=1&x=a/b?");
    is("health=obey", "");
    is("health=require", " require");
    is("health=ignore", " ignore");
    is("timeout=5m", " timeout 300000ms");
    is("timeout=1ms", " timeout 1ms");
    is("timeout=24h", " timeout 86400000ms");
    is("timeout=1m+30s", " timeout 90000ms");
    is("timeout=1999us", " timeout 1ms");
    is("retry=safe", "");
    is("retry=all", " retry all");
    is("retry=off", " retry off");
}

#[test]
fn a_bad_option_costs_its_label_only() {
    let costs = |option: &str, values: &[&str], reason: &str| {
        for value in values {
            let labels = format!("glue_http_80_host=a.test glue_http_80_{option}={value}");
            let value = value.replace('+', " ");
            let problem = format!("label glue_http_80_{option}={value:?}: {reason}");
            check(&labels, &["a.test:80/ -> 80"], &[&problem]);
        }
    };
    costs("strip_prefix", &["2", "ja", "y"], "a switch is one of 1 0 true false yes no on off");
    costs(
        "weight",
        &["heavy", "-1", "1.5", "1e2", "0x10", "1+0", "１"],
        "a weight is a whole number from 0 to 256",
    );
    costs(
        "check",
        &["http", "healthz", "/é", "/a#b", "/%zz", "/a?%", "/a,b", "https://a.test/"],
        "a check is tcp, off, or a path such as /healthz",
    );
    costs("check", &["/a+b"], "a check is tcp, off, or a path such as /healthz");
    costs("health", &["yes", "obeys"], "health is obey, require or ignore");
    costs(
        "timeout",
        &["60", "0", "0s", "999us", "25h", "24h+1ms", "-1s", "soon", "99999999999999999999y"],
        "a timeout is a duration from 1ms to 24h with its unit, such as 30s or 5m",
    );
    costs("retry", &["on", "1"], "retry is safe, all or off");
    for option in ["strip_prefix", "weight", "check", "health", "timeout", "retry"] {
        costs(option, &["", "++"], "the value is empty; give it one, or leave the label away");
    }
}

#[test]
fn more_weight_than_there_is_counts_as_all_of_it() {
    for weight in ["257", "65536", "999999999999999999999999999999"] {
        check(
            &format!("glue_http_80_host=a.test glue_http_80_weight={weight}"),
            &["a.test:80/ -> 80 weight 256"],
            &[&format!(
                "label glue_http_80_weight=\"{weight}\": a weight is at most 256; 256 is used"
            )],
        );
    }
}

#[test]
fn a_weight_may_have_a_plus_no_more_than_a_port() {
    check_fenced(
        &Fences::default(),
        &with([
            ("glue_http_80_host".into(), "a.test".into()),
            ("glue_http_80_weight".into(), "+5".into()),
        ]),
        &["a.test:80/ -> 80"],
        &["label glue_http_80_weight=\"+5\": a weight is a whole number from 0 to 256"],
    );
    check_fenced(
        &Fences::default(),
        &one("glue_http_ports", "+80"),
        &[],
        &[
            "label glue_http_ports=\"+80\": \"+80\" is no port; a port is a whole number from 1 to 65535",
        ],
    );
}
