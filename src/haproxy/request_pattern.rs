//! Patterns in HAProxy's syntax for what a client may spell in more than one way: hosts, paths and header names.
//!
//! Pure. The regular expressions are POSIX ones, because HAProxy may be built without PCRE. [`crate::model::path`]
//! implements the same rules for paths in Rust.

/// Matches a host name or an address, with an optional port. For use between single quotes.
pub const HOST: &str = r"^([0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(:([0-9]{0,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$";

/// Matches a path whose normalized form may differ; nearly no path does. For use between double quotes.
pub const AMBIGUOUS_PATH: &str = r"[^!\$%&'()*+,./0-9:=@A-Z_a-z~-]|//|/\.\.?(/|\$)|%(\$|[^289A-F]|2(\$|[^0])|[89A-F](\$|[^0-9A-F]))";

/// Matches an invalid path, see [`crate::model::path::PathError`]. For use between single quotes.
pub const INVALID_PATH: &str = r"[^!-~]|#|%($|[^0-9A-Fa-f]|[0-9A-Fa-f]($|[^0-9A-Fa-f])|00)";

/// Matches a path that containers may interpret as another one: with an empty or a dot segment, with a backslash, with an
/// encoded separator, letter, digit, percent sign or control character, or with an overlong encoding of ASCII. For use
/// between single quotes. Hosts with a protected route refuse it.
pub const AMBIGUOUS_SPELLING: &str = r"//|\\|/\.\.?(;|/|$)|%([01]|2[d-fD-F5]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[cCfF]|7[eEfF]|[cC][01])";

pub use crate::model::path::MAX_AMBIGUOUS_PATH;

/// Maximum number of digits of `Content-Length`: a number with more may be above the largest of 64 bits with a sign.
pub const MAX_LENGTH_DIGITS: usize = 18;

/// Restores characters that are allowed in a path and that `url_enc` writes as %XX. For use between double quotes.
const UNESCAPE_ALLOWED: &str = concat!(
    r"regsub('%21','!',g),regsub('%24','\$',g),regsub('%26','&',g),regsub('%28','(',g),",
    "regsub('%27',\\\"'\\\",g),",
    r"regsub('%29',')',g),regsub('%2A','*',g),regsub('%2B','+',g),regsub('%2C',',',g),regsub('%3A',':',g),",
    r"regsub('%3D','=',g),regsub('%40','@',g)",
);

/// Converts a path as it was sent to one without parameters, alternative encodings and empty segments. For use between
/// double quotes.
pub fn flat() -> String {
    format!(
        "regsub(';[^/]*','',g),url_dec,regsub(';[^/]*','',g),url_enc,regsub('%(2F|5C)','/',g),regsub('//+','/',g),{UNESCAPE_ALLOWED}"
    )
}

/// Percent-decodes a path, except for separators, so that its segments stay the same. For use between double quotes.
pub fn literal() -> String {
    format!(
        r"regsub('%(2[Ff]|3[Bb]|5[Cc])','%25\1',g),url_dec,url_enc,regsub('%2F','/',g),{UNESCAPE_ALLOWED}"
    )
}

/// Removes one level of `..`. For use between double quotes.
const RESOLVE_PARENT: &str = r"regsub('/([^/.][^/]*|\.[^/.][^/]*|\.\.[^/]+)/\.\.(/|\$)','/',g)";

/// Removes `.` and `..` from the result of [`flat`], except for too many levels of `..` in a row. For use between
/// double quotes.
pub fn resolved() -> String {
    let up = [RESOLVE_PARENT; crate::model::path::MAX_PARENT_LEVELS].join(",");
    format!(r"regsub('/(\./)+','/',g),regsub('/\.\$','/'),{up},regsub('^(/\.\.)+(/|\$)','/')")
}

/// Prefix of the headers with a client's certificate (RFC 9440).
const CLIENT_CERT: &str = "client.cert";

/// Matches the name of a header with a client's certificate in lower case. For use between single quotes.
pub fn client_cert_pattern() -> String {
    format!("^{CLIENT_CERT}")
}

/// Prefixes of names of headers in which proxies pass on the client and the original request. A dot matches any
/// separator of words, because CGI and WSGI turn each into `_`.
const PROXY_HEADERS: [&str; 15] = [
    "forwarded",
    "x.(forward|real.|rewrite.|remote.|ssl|https?$|scheme|url.scheme|proto|host$|port$|prefix$|script.name)",
    "x.original.(ur|host|path|port|proto|scheme|method|remote|request|forward)",
    "x.((cluster.)?client.?ip|client.(cert|verify|s?dn)|proxyuser.ip|originating.|http.host)",
    "x.(arr|envoy|appengine|accel|auth.request|webauth|authentik|authenticated).",
    "x.(azure.(client|socket)ip|vercel.(forward|proxied|ip)|nf.client|sendfile.type)",
    "((true|fastly|fly|incap).)?client.ip",
    CLIENT_CERT,
    "cf.(connecting|visitor|ipcountry|pseudo|access.authenticated)",
    "fly.forwarded",
    "remote.(user|name|email|groups|addr|host|ip)",
    "ssl.",
    "front.end.https",
    "proxy(.connection)?$",
    "(http2.settings|keep.alive)$",
];

/// Matches such a header name in lower case. For use between single quotes.
pub fn proxy_header_pattern() -> String {
    format!("^({})", PROXY_HEADERS.join("|"))
}

/// Matches such a name in a comma-separated list of names. The whole list is matched at once, because most requests
/// contain no such header. For use between single quotes.
pub fn proxy_header_list_pattern() -> String {
    format!("(^|,)({})", PROXY_HEADERS.join("|").replace('$', "(,|$)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::path::{NormalizedPath, PathError, is_ambiguous};
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
    use regex_lite::Regex;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ambiguity_of_a_path_is_that_of_haproxy(path in "(/[-a.;|!%$20278cCfF]{0,4}){1,4}/?") {
            // Between double quotes, a dollar is escaped.
            let pattern = Regex::new(&AMBIGUOUS_PATH.replace(r"\$", "$")).unwrap();
            prop_assert_eq!(is_ambiguous(&path), pattern.is_match(&path));
        }
    }

    #[test]
    fn only_ambiguous_paths_have_a_maximum_length() {
        let long = "x".repeat(MAX_AMBIGUOUS_PATH);
        for (path, expected) in [
            (format!("/{long}"), None),
            (format!("/%20{long}"), None),
            (format!("/;{}", &long[2..]), None),
            (format!("/;{}", &long[1..]), Some(PathError::Length)),
            (format!("/%2e/{long}"), Some(PathError::Length)),
        ] {
            assert_eq!(NormalizedPath::from_request(&path).err(), expected, "{path:.10}");
        }
    }
}
