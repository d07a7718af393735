//! Properties that hold for all label texts.

use super::{
    CheckPath, Host, LabelLimits, LabelOption, MAX_ROUTES, MAX_SEGMENTS, PathPrefix, from_labels,
    parse_labels, request_text,
};
use proptest::prelude::*;

/// Generates names that are similar to valid ones, and arbitrary text.
fn any_key() -> impl Strategy<Value = String> {
    let names = LabelOption::of_ports().map(LabelOption::name).collect::<Vec<_>>().join("|");
    let near = format!(
        "glue_(http|tcp|udp|htp)_(80|81|0|x|99999|80-82|81-90|9-8|1-99999)_({names}|hots)(\\.(a|b|é)?)?"
    );
    let near = proptest::string::string_regex(&near).expect("it is a regular expression");
    prop_oneof![4 => near, 1 => "glue_((http|tcp|udp)_ports|network|.{0,20})", 1 => any::<String>()]
}

fn any_value() -> impl Strategy<Value = String> {
    let near = "(\\*\\.)?[a-zA-Zü0-9./:%, _?-]{0,20}";
    prop_oneof![2 => near, 1 => "(1|off|/up|5s|obey|80|81,443|a.test,b.test|80-82|1-300|v1|v2|down|8008/up|source)", 1 => any::<String>()]
}

proptest! {
    #[test]
    fn any_label_is_parsed_and_problem_is_one_line(labels in prop::collection::vec((any_key(), any_value()), 0..12)) {
        let parsed = parse_labels(&from_labels(labels), &LabelLimits::default());
        prop_assert!(parsed.requests.len() <= MAX_ROUTES);
        prop_assert!(parsed.requests.is_sorted_by(|one, other| (&one.key, one.port) < (&other.key, other.port)));
        prop_assert!(parsed.problems.is_sorted_by(|one, other| one < other));
        for problem in &parsed.problems {
            prop_assert!(!problem.to_string().contains(char::is_control), "{problem}");
        }
        for request in &parsed.requests {
            prop_assert!(request_text(request).bytes().all(|c| (b' '..=b'~').contains(&c)));
        }
    }

    #[test]
    fn label_order_does_not_change_result(labels in prop::collection::btree_map(any_key(), any_value(), 0..12), rotation in 0_usize..12) {
        let mut rotated: Vec<_> = labels.clone().into_iter().collect();
        let middle = rotation % rotated.len().max(1);
        rotated.rotate_left(middle);
        prop_assert_eq!(parse_labels(&from_labels(labels), &LabelLimits::default()), parse_labels(&from_labels(rotated), &LabelLimits::default()));
    }

    #[test]
    fn label_of_one_port_does_not_affect_another(labels in prop::collection::vec((any_key(), any_value()), 0..12)) {
        let ours = |labels: Vec<(String, String)>| {
            let requests = parse_labels(&from_labels(labels), &LabelLimits::default()).requests;
            requests.into_iter().filter(|request| request.port == 3000).collect::<Vec<_>>()
        };
        let alone = vec![("glue_http_3000_host".to_owned(), "a.test".to_owned())];
        let both = labels.into_iter().filter(|(key, _)| key != "glue_network").chain(alone.clone()).collect();
        prop_assert_eq!(ours(both), ours(alone));
    }

    #[test]
    fn parsed_host_has_only_legal_characters(text in any_value()) {
        if let Ok(host) = text.parse::<Host>() {
            let text = host.as_str();
            prop_assert!(text.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')));
            prop_assert!(text.len() <= 253 && text.split('.').all(|label| (1..=63).contains(&label.len())));
            prop_assert_eq!(text.parse(), Ok(host.clone()));
        }
    }

    #[test]
    fn parsed_prefix_has_only_legal_segments(text in prop_oneof!["[/a-c.%2é?,\"\\\\ ]{0,12}", any::<String>()]) {
        if let Ok(prefix) = text.parse::<PathPrefix>() {
            prop_assert!(prefix.depth() <= MAX_SEGMENTS && prefix.as_str().split('/').skip(1).count() == prefix.depth());
            prop_assert!(prefix.as_str().split('/').skip(1).all(|segment| !matches!(segment, "" | "." | "..")));
            prop_assert!(prefix.as_str().bytes().all(|c| matches!(c, b',' | b'/') || is_path_byte(c) && !b"?;".contains(&c)));
            prop_assert!(prefix.depth() == 0 || prefix.as_str().starts_with('/'));
            if prefix.depth() != 0 {
                prop_assert_eq!(&prefix.as_str().parse::<PathPrefix>(), &Ok(prefix.clone()));
                prop_assert_eq!(PathPrefix::parse_single(&prefix.to_single()), Ok(prefix));
            }
        }
    }

    #[test]
    fn parsed_check_path_has_only_legal_characters(text in prop_oneof!["/[/a-c.%2é?, ]{0,12}", any::<String>()]) {
        if let Ok(path) = text.parse::<CheckPath>() {
            prop_assert!(path.as_str().starts_with('/') && path.as_str().bytes().all(is_path_byte));
        }
    }
}

fn is_path_byte(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"/?%-._~!$&'()*+;=:@".contains(&c)
}
