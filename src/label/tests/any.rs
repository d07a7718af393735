//! Whatever is written.

use super::{CheckPath, Fences, Host, MOST_ROUTES, MOST_SEGMENTS, PathPrefix, read, said, with};
use proptest::prelude::*;

/// Near to what people write, and far from it.
fn key() -> impl Strategy<Value = String> {
    let near = "glue_(http|tcp|htp)_(80|81|0|x|99999)_(host|prefix|weight|bind|check|hots|timeout|strip_prefix|retry|health)(\\.(a|b|é)?)?";
    prop_oneof![4 => near, 1 => "glue_(http_ports|network|.{0,20})", 1 => any::<String>()]
}

fn value() -> impl Strategy<Value = String> {
    let near = "(\\*\\.)?[a-zA-Zü0-9./:%, _?-]{0,20}";
    prop_oneof![2 => near, 1 => "(1|off|/up|5s|obey|80|81,443|a.test,b.test)", 1 => any::<String>()]
}

proptest! {
    #[test]
    fn any_label_is_read_and_told_on_one_line(labels in prop::collection::vec((key(), value()), 0..12)) {
        let reading = read(&with(labels), &Fences::default());
        prop_assert!(reading.asks.len() <= MOST_ROUTES);
        prop_assert!(reading.asks.is_sorted_by(|one, other| (&one.key, one.port) < (&other.key, other.port)));
        prop_assert!(reading.problems.is_sorted_by(|one, other| one < other));
        for problem in &reading.problems {
            prop_assert!(!problem.to_string().contains(char::is_control), "{problem}");
        }
        for ask in &reading.asks {
            prop_assert!(said(ask).bytes().all(|c| (b' '..=b'~').contains(&c)));
        }
    }

    #[test]
    fn the_order_of_labels_is_irrelevant(labels in prop::collection::btree_map(key(), value(), 0..12), turn in 0_usize..12) {
        let mut turned: Vec<_> = labels.clone().into_iter().collect();
        let middle = turn % turned.len().max(1);
        turned.rotate_left(middle);
        prop_assert_eq!(read(&with(labels), &Fences::default()), read(&with(turned), &Fences::default()));
    }

    #[test]
    fn a_label_of_one_port_says_nothing_of_another(labels in prop::collection::vec((key(), value()), 0..12)) {
        let ours = |labels: Vec<(String, String)>| {
            let asks = read(&with(labels), &Fences::default()).asks;
            asks.into_iter().filter(|ask| ask.port == 3000).collect::<Vec<_>>()
        };
        let alone = vec![("glue_http_3000_host".to_owned(), "a.test".to_owned())];
        let both = labels.into_iter().filter(|(key, _)| key != "glue_network").chain(alone.clone()).collect();
        prop_assert_eq!(ours(both), ours(alone));
    }

    #[test]
    fn a_host_holds_what_it_promises(text in value()) {
        if let Ok(host) = text.parse::<Host>() {
            let text = host.as_str();
            prop_assert!(text.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')));
            prop_assert!(text.len() <= 253 && text.split('.').all(|label| (1..=63).contains(&label.len())));
            prop_assert_eq!(text.parse(), Ok(host.clone()));
        }
    }

    #[test]
    fn a_prefix_holds_what_it_promises(text in prop_oneof!["[/a-c.%2é?,\"\\\\ ]{0,12}", any::<String>()]) {
        if let Ok(prefix) = text.parse::<PathPrefix>() {
            prop_assert!(prefix.depth() <= MOST_SEGMENTS && prefix.as_str().split('/').skip(1).count() == prefix.depth());
            prop_assert!(prefix.as_str().split('/').skip(1).all(|segment| !matches!(segment, "" | "." | "..")));
            prop_assert!(prefix.as_str().bytes().all(|c| matches!(c, b',' | b'/') || is_path(c) && !b"?;".contains(&c)));
            prop_assert!(prefix.depth() == 0 || prefix.as_str().starts_with('/'));
        }
    }

    #[test]
    fn a_check_holds_what_it_promises(text in prop_oneof!["/[/a-c.%2é?, ]{0,12}", any::<String>()]) {
        if let Ok(path) = text.parse::<CheckPath>() {
            prop_assert!(path.as_str().starts_with('/') && path.as_str().bytes().all(is_path));
        }
    }
}

fn is_path(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"/?%-._~!$&'()*+;=:@".contains(&c)
}
