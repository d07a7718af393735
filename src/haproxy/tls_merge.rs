//! The lines of all hosts of a listener together.
//!
//! Pure. Of several lines for a name, HAProxy uses the options of one, for all hosts of the name. So hosts share a line
//! only if their options are equal.

use super::tls::{TlsLine, TlsLists};
use crate::model::option_value::HostMatch;
use std::collections::{BTreeMap, BTreeSet};

/// Lines of a host in a list.
#[derive(Debug)]
pub(super) struct HostLines {
    pub(super) list: String,
    pub(super) host: HostMatch,
    pub(super) lines: Vec<TlsLine>,
}

/// Adds the lines of all hosts to their lists.
pub(super) fn merge_lines(all: Vec<HostLines>, lists: &mut TlsLists) {
    let mut by_list = BTreeMap::<_, Vec<_>>::new();
    for HostLines { list, host, lines } in all {
        by_list.entry(list).or_default().push((host, lines));
    }
    for (list, hosts) in by_list {
        lists.entry(list).or_default().extend(merge_hosts(hosts));
    }
}

/// Returns the lines of a list. Those of a route of any host are only for names without other lines.
fn merge_hosts(hosts: Vec<(HostMatch, Vec<TlsLine>)>) -> BTreeSet<TlsLine> {
    let with_options: BTreeSet<_> = hosts
        .iter()
        .filter(|(host, _)| !matches!(host, HostMatch::Exact(_)))
        .flat_map(|(_, lines)| lines)
        .filter(|line| !line.options.is_empty())
        .map(|line| line.name.clone())
        .collect();
    let (of_any, others): (Vec<_>, Vec<_>) =
        hosts.into_iter().partition(|(host, _)| *host == HostMatch::Any);
    let own = others.into_iter().flat_map(|(host, lines)| {
        let with_options = &with_options;
        lines.into_iter().map(move |line| separate_line(line, &host, with_options))
    });
    let mut merged: BTreeSet<_> = own.collect();
    let names: BTreeSet<_> = merged.iter().map(|line| line.name.clone()).collect();
    let of_any = of_any.into_iter().flat_map(|(_, lines)| lines);
    merged.extend(of_any.filter(|line| !names.contains(&line.name)));
    merged
}

/// Gives a host its own line in place of the shared line, if that has options.
fn separate_line(line: TlsLine, host: &HostMatch, with_options: &BTreeSet<String>) -> TlsLine {
    let is_shared = line.options.is_empty() && with_options.contains(&line.name);
    match host {
        HostMatch::Exact(host) if is_shared => TlsLine { name: host.to_string(), ..line },
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_share_line_only_with_equal_options() {
        for (hosts, expected) in [
            (&["a.test: a.test"][..], &["a.test"][..]),
            (&["x.a.test: *.a.test", "y.a.test: *.a.test"], &["*.a.test"]),
            (&["x.a.test: *.a.test", "*.a.test: *.a.test"], &["*.a.test"]),
            (
                &["x.a.test: *.a.test", "*.a.test: *.a.test strict"],
                &["*.a.test strict", "x.a.test"],
            ),
            (
                &["x.a.test: x.a.test strict", "*.a.test: *.a.test"],
                &["*.a.test", "x.a.test strict"],
            ),
            // A route of any host has a line for each name of a certificate.
            (&["a.test: a.test strict", "*: a.test"], &["a.test strict"]),
            (&["a.test: a.test", "*: a.test strict"], &["a.test"]),
            (&["x.a.test: *.a.test", "*: *.a.test strict"], &["*.a.test strict", "x.a.test"]),
            (&["*.a.test: *.a.test", "*: *.a.test strict"], &["*.a.test"]),
        ] {
            let hosts = hosts.iter().map(|text| {
                let (host, line) = text.split_once(": ").unwrap();
                let (name, option) = line.split_once(' ').unwrap_or((line, ""));
                let options = option.split_whitespace().map(str::to_owned).collect();
                let line = TlsLine { name: name.to_owned(), options, ..TlsLine::default() };
                (host.parse().unwrap(), vec![line])
            });
            let merged = merge_hosts(hosts.collect());
            let text = |line: &TlsLine| {
                let options = line.options.iter().map(|option| format!(" {option}"));
                line.name.clone() + &options.collect::<String>()
            };
            assert_eq!(merged.iter().map(text).collect::<Vec<_>>(), expected);
        }
    }
}
