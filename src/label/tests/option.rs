//! Invalid options, which cost only their own label.

use super::{LabelLimits, check, check_limited, from_labels, single_label};

#[test]
fn option_case_and_blanks_are_ignored() {
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
    let check_option = |option: &str, expected: &str| {
        let expected = format!("a.test:80/ -> 80{expected}");
        check(&format!("glue_http_80_host=a.test glue_http_80_{option}"), &[&expected], &[]);
    };
    check_option("weight=0", " weight 0");
    check_option("weight=+7+", " weight 7");
    check_option("weight=256", " weight 256");
    check_option("check=tcp", "");
    check_option("check=off", " unchecked");
    check_option("check=/", " check /");
    check_option("check=/healthz/a//b?full=1&x=a/b?", " check /healthz/a//b?full=1&x=a/b?");
    check_option("health=obey", "");
    check_option("health=require", " require");
    check_option("health=ignore", " ignore");
    check_option("timeout=5m", " timeout 300000ms");
    check_option("timeout=1ms", " timeout 1ms");
    check_option("timeout=24h", " timeout 86400000ms");
    check_option("timeout=1m+30s", " timeout 90000ms");
    check_option("timeout=1999us", " timeout 1ms");
    check_option("retry=safe", "");
    check_option("retry=all", " retry all");
    check_option("retry=off", " retry off");
    check_option("maxconn=1", " maxconn 1");
    check_option("maxconn=+65535+", " maxconn 65535");
    check_option("backup=yes", " backup 1");
    check_option("backup=0", "");
    check_option("check_interval=500ms", " check_interval 500ms");
    check_option("check_interval=1m+30s", " check_interval 1m 30s");
    check_option("check_interval=2000999us", " check_interval 2s");
    check_option("check_interval=+1h+", " check_interval 1h");
}

#[test]
fn invalid_option_is_ignored_and_reported() {
    let check_ignored = |option: &str, values: &[&str], reason: &str| {
        for value in values {
            let labels = format!("glue_http_80_host=a.test glue_http_80_{option}={value}");
            let value = value.replace('+', " ");
            let problem = format!("label glue_http_80_{option}={value:?}: {reason}");
            check(&labels, &["a.test:80/ -> 80"], &[&problem]);
        }
    };
    check_ignored(
        "strip_prefix",
        &["2", "ja", "y"],
        "a switch is one of 1, 0, true, false, yes, no, on and off",
    );
    check_ignored(
        "weight",
        &["heavy", "-1", "1.5", "1e2", "0x10", "1+0", "１"],
        "a weight is a whole number from 0 to 256",
    );
    check_ignored(
        "check",
        &["http", "healthz", "/é", "/a#b", "/%zz", "/a?%", "/a,b", "https://a.test/"],
        "a check is tcp, off, a path such as /healthz, or another port of the container, also with a path: 8008 or 8008/ready",
    );
    check_ignored(
        "check",
        &["/a+b"],
        "a check is tcp, off, a path such as /healthz, or another port of the container, also with a path: 8008 or 8008/ready",
    );
    check_ignored("health", &["yes", "obeys"], "health is obey, require or ignore");
    check_ignored(
        "timeout",
        &["60", "0", "0s", "999us", "25h", "24h+1ms", "-1s", "soon", "99999999999999999999y"],
        "a timeout is a duration from 1ms to 24h with a unit, such as 30s or 5m",
    );
    check_ignored("retry", &["on", "1"], "retry is safe, all or off");
    check_ignored(
        "maxconn",
        &["0", "65536", "-1", "1.5", "off", "many", "１"],
        "maxconn is a whole number from 1 to 65535",
    );
    for value in ["499ms", "1h+1ms", "2", "-1s", "often"] {
        let reason = format!(
            "check_interval: {:?} is not a duration from 500ms to 1h with a unit, such as 5s or 1m",
            value.replace('+', " ")
        );
        check_ignored("check_interval", &[value], &reason);
    }
    let options = [
        "strip_prefix",
        "weight",
        "check",
        "health",
        "timeout",
        "retry",
        "maxconn",
        "check_interval",
    ];
    for option in options {
        check_ignored(option, &["", "++"], "the value is empty; set a value, or remove the label");
    }
}

#[test]
fn weight_above_256_is_clamped() {
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
fn weight_or_port_with_plus_sign_is_refused() {
    check_limited(
        &LabelLimits::default(),
        &from_labels([
            ("glue_http_80_host".into(), "a.test".into()),
            ("glue_http_80_weight".into(), "+5".into()),
        ]),
        &["a.test:80/ -> 80"],
        &["label glue_http_80_weight=\"+5\": a weight is a whole number from 0 to 256"],
    );
    check_limited(
        &LabelLimits::default(),
        &single_label("glue_http_ports", "+80"),
        &[],
        &["label glue_http_ports=\"+80\": \"+80\" is not a port; a port is a whole number from 1 \
           to 65535"],
    );
}
