//! Secrets in labels: which texts are shown to people, and stored, without them.
//!
//! Pure. Every text of a label that leaves the program passes through here. Names are judged generously, because a
//! misspelled name may hold the same secret.

use std::borrow::Cow;

/// What is shown in place of a secret.
pub const HIDDEN: &str = "(secret)";

/// Parts of the names of labels, in lower case without separators, that hold secrets.
const NAMES: [&str; 8] =
    ["user", "auth", "passw", "htpass", "credential", "secret", "token", "apikey"];

/// Parts of names that contain one of these, but hold none.
const OTHER_NAMES: [&str; 3] = ["forwardauth", "authurl", "useragent"];

/// Starts of the hashes of passwords.
const HASHES: [&str; 9] =
    ["$2a$", "$2b$", "$2x$", "$2y$", "$5$", "$6$", "$apr1$", "{SHA}", "{SSHA}"];

/// Whether a label of ours with this name may hold passwords, or their hashes.
pub fn is_secret_label(key: &str) -> bool {
    let lower: String =
        key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let Some(name) = lower.strip_prefix("glue") else { return false };
    let name = OTHER_NAMES.iter().fold(name.to_owned(), |name, other| name.replace(other, ""));
    NAMES.iter().any(|part| name.contains(part))
}

/// Whether a text contains the hash of a password, also if a `$` of it is written twice.
pub fn has_hash(text: &str) -> bool {
    let single = text.replace("$$", "$");
    HASHES.iter().any(|start| single.contains(start))
}

/// Returns the value of a label as it is shown.
pub fn shown_value<'a>(key: &str, value: &'a str) -> Cow<'a, str> {
    if !value.is_empty() && is_secret_label(key) {
        Cow::Borrowed(HIDDEN)
    } else {
        shown_text(value)
    }
}

/// Returns the name of a label as it is shown. The value may be part of it: `- "name: value"` in a compose file.
pub fn shown_key(key: &str) -> Cow<'_, str> {
    match key.find([':', ' ', '=']) {
        Some(at) if is_secret_label(&key[..at]) => Cow::Owned(format!("{}{HIDDEN}", &key[..=at])),
        _ => shown_text(key),
    }
}

/// Returns a text as it is shown, of which it is not known where it is from.
pub fn shown_text(text: &str) -> Cow<'_, str> {
    if has_hash(text) { Cow::Borrowed(HIDDEN) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_of_secret_label_is_hidden() {
        for (key, value, expected) in [
            ("glue_http_80_users", "alice:secret", HIDDEN),
            ("glue_http_80_users.admin", "alice:secret", HIDDEN),
            ("glue_http_80_user", "alice:secret", HIDDEN),
            ("glue.http.80.basic-auth", "alice:secret", HIDDEN),
            ("GLUE_HTTP_80_HTPASSWD", "alice:secret", HIDDEN),
            ("glue_http_80_request_header_Authorization", "Bearer x", HIDDEN),
            ("glue_http_80_users", "", ""),
            ("glue_http_80_uesr", "alice:$2y$05$abc", HIDDEN),
            ("glue_http_80_uesr", "alice:$$2y$$05$$abc", HIDDEN),
            ("glue_http_80_host", "{SHA}abc", HIDDEN),
            ("traefik.http.middlewares.a.basicauth.users", "a:$apr1$b$c", HIDDEN),
            ("glue_http_80_forward_auth", "http://authelia:9091", "http://authelia:9091"),
            ("glue_http_80_forward_auth_headers", "Remote-User", "Remote-User"),
            ("glue_http_80_host", "a.test", "a.test"),
            ("glue_http_80_prefix", "/$5", "/$5"),
        ] {
            assert_eq!(shown_value(key, value), expected, "{key}={value}");
        }
    }

    #[test]
    fn value_in_name_is_hidden() {
        for (key, expected) in [
            ("glue_http_80_users: alice:secret", "glue_http_80_users:(secret)"),
            ("glue_http_80_users", "glue_http_80_users"),
            ("glue_http_80_x: alice:$apr1$a$b", HIDDEN),
            ("glue_http_80_host: a.test", "glue_http_80_host: a.test"),
        ] {
            assert_eq!(shown_key(key), expected);
        }
    }
}
