//! Checks of label texts that do not need the grammar of labels.
//!
//! Pure.

/// Docker treats quotes around a value as part of it. Typographic quotes come with copied text.
pub(crate) const QUOTES: [char; 8] =
    ['"', '\'', '`', '\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}', '\u{201e}'];

/// Whether a key is a label of docker-balancer: a cheap check before labels are parsed.
pub fn has_our_labels<'a>(keys: impl IntoIterator<Item = &'a str>) -> bool {
    keys.into_iter().any(|key| key.starts_with("glue_"))
}

/// Whether a part of the value seems to be missing: at its start or end, or between two dots.
pub fn is_cut_short(value: &str) -> bool {
    let cut = |member: &str| {
        let member = member.trim();
        member.is_empty()
            || member.starts_with(['.', '-', ':'])
            || member.ends_with(['.', '-', ':'])
            || ["..", "//", "/-", "-/", ".-", "-."].iter().any(|text| member.contains(text))
            || member == "/"
    };
    value.split(',').any(cut)
}

/// Returns the quoted texts after `Host`.
pub(crate) fn hosts_of_rule(rule: &str) -> String {
    let inside = rule.split("Host").skip(1).filter_map(|after_prefix| {
        let after_prefix = after_prefix.trim_start();
        let after_prefix =
            after_prefix.strip_prefix('(').or_else(|| after_prefix.strip_prefix(':'))?;
        after_prefix.split([')', ';', '&', '|']).next()
    });
    let hosts = inside
        .flat_map(|text| text.split(','))
        .map(|text| text.trim_matches(['`', '"', '\'', ' ']));
    hosts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(",")
}
