//! What a client may spell in more than one way, in HAProxy's words: hosts, paths and names of headers.
//!
//! Pure. The regular expressions are POSIX's, as HAProxy may be built with those. [`crate::model::path`] says in Rust
//! what is said here of paths.

/// A name or an address, and perhaps a port. Between single quotes.
pub const HOST: &str = r"^([0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(:([0-9]{0,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$";

/// A path that may be another one as it is read: nearly all are not. Between double quotes.
pub const AMBIGUOUS_PATH: &str = r"[^!\$%&'()*+,./0-9:=@A-Z_a-z~-]|//|/\.\.?(/|\$)|%(\$|[^289A-F]|2(\$|[^0])|[89A-F](\$|[^0-9A-F]))";

/// A path that nobody can read, see [`crate::model::path::PathError`]. Between single quotes.
pub const INVALID_PATH: &str = r"[^!-~]|#|%($|[^0-9A-Fa-f]|[0-9A-Fa-f]($|[^0-9A-Fa-f])|00)";

/// What may stand in a path as it is, and is written as %XX by `url_enc`. Between double quotes.
const UNESCAPE_ALLOWED: &str = concat!(
    r"regsub('%21','!',g),regsub('%24','\$',g),regsub('%26','&',g),regsub('%28','(',g),",
    "regsub('%27',\\\"'\\\",g),",
    r"regsub('%29',')',g),regsub('%2A','*',g),regsub('%2B','+',g),regsub('%2C',',',g),regsub('%3A',':',g),",
    r"regsub('%3D','=',g),regsub('%40','@',g)",
);

/// From the path as it was sent to one without parameters, odd spellings and empty segments. Between double quotes.
pub fn flat() -> String {
    format!(
        "regsub(';[^/]*','',g),url_dec,regsub(';[^/]*','',g),url_enc,regsub('%(2F|5C)','/',g),regsub('//+','/',g),{UNESCAPE_ALLOWED}"
    )
}

/// To one of the same segments, with percent signs decoded where that separates nothing. Between double quotes.
pub fn literal() -> String {
    format!(
        r"regsub('%(2[Ff]|3[Bb]|5[Cc])','%25\1',g),url_dec,url_enc,regsub('%2F','/',g),{UNESCAPE_ALLOWED}"
    )
}

/// Takes one level of `..` away. Between double quotes.
const RESOLVE_PARENT: &str = r"regsub('/([^/.][^/]*|\.[^/.][^/]*|\.\.[^/]+)/\.\.(/|\$)','/',g)";

/// From that to one without `.` and `..`, but for those that are too many. Between double quotes.
pub fn resolved() -> String {
    let up = [RESOLVE_PARENT; crate::model::path::MAX_PARENT_LEVELS].join(",");
    format!(r"regsub('/(\./)+','/',g),regsub('/\.\$','/'),{up},regsub('^(/\.\.)+(/|\$)','/')")
}

/// Beginnings of the names of headers by which proxies tell who asked, and for what. A dot stands for whatever
/// separates words, as CGI and WSGI make `_` of each.
const PROXY_HEADERS: [&str; 14] = [
    "forwarded",
    "x.(forward|real.|rewrite.|remote.|ssl|https?$|scheme|url.scheme|proto|host$|port$|prefix$|script.name)",
    "x.original.(ur|host|path|port|proto|scheme|method|remote|request|forward)",
    "x.((cluster.)?client.?ip|client.(cert|verify|s?dn)|proxyuser.ip|originating.|http.host)",
    "x.(arr|envoy|appengine|accel|auth.request|webauth|authentik|authenticated).",
    "x.(azure.(client|socket)ip|vercel.(forward|proxied|ip)|nf.client|sendfile.type)",
    "((true|fastly|fly|incap).)?client.ip",
    "cf.(connecting|visitor|ipcountry|pseudo|access.authenticated)",
    "fly.forwarded",
    "remote.(user|name|email|groups|addr|host|ip)",
    "ssl.",
    "front.end.https",
    "proxy(.connection)?$",
    "(http2.settings|keep.alive)$",
];

/// Such a name, in lower case. Between single quotes.
pub fn proxy_header_pattern() -> String {
    format!("^({})", PROXY_HEADERS.join("|"))
}

/// The same in a list of names: asked once, and not for each, as requests of clients have none. Between single quotes.
pub fn proxy_header_list_pattern() -> String {
    format!("(^|,)({})", PROXY_HEADERS.join("|").replace('$', "(,|$)"))
}
