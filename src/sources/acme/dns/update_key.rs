//! The file of `acme_dns = "rfc2136:FILE"`: the name server that accepts updates, and the key that signs them.
//!
//! Pure.

use super::message::DnsName;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use domain::tsig::{Algorithm, Key, KeyName};
use std::{fmt, sync::Arc};
use zeroize::Zeroizing;

const KEYS: [&str; 5] = ["server", "key", "algorithm", "secret", "zone"];
/// The port of name servers.
const DNS_PORT: u16 = 53;

/// A name server that accepts updates of a zone, and the key that signs them. The debug text has no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct DnsUpdate {
    /// `HOST:PORT`
    pub server: String,
    key_name: KeyName,
    algorithm: Algorithm,
    secret: Zeroizing<Vec<u8>>,
    /// `None` if the name server says which zone a name belongs to.
    pub(super) zone: Option<DnsName>,
}

/// Why the file cannot be used. No text contains a part of the file, because that may be the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsUpdateError {
    #[error("it is not TOML: lines such as server = \"ns1.example.com\" are expected{0}")]
    Syntax(String),
    #[error("it has an unknown key; it may contain server, key, algorithm, secret and zone")]
    UnknownKey,
    #[error("{0} is missing; add a line {0} = \"…\"")]
    Missing(&'static str),
    #[error("the value of {0} is not a text in quotes")]
    NotText(&'static str),
    #[error("the value of {0} is not a domain name")]
    NotName(&'static str),
    #[error("the algorithm is not known; use hmac-sha256, hmac-sha384 or hmac-sha512")]
    Algorithm,
    #[error("the secret is not base64; use the text that tsig-keygen or keymgr prints")]
    Secret,
}

impl DnsUpdate {
    /// Parses the content of the file.
    ///
    /// # Errors
    /// If something is missing or invalid.
    pub fn parse(text: &str) -> Result<Self, DnsUpdateError> {
        let table: toml::Table = text.parse().map_err(|error| syntax_error(text, &error))?;
        if table.keys().any(|key| !KEYS.contains(&key.as_str())) {
            return Err(DnsUpdateError::UnknownKey);
        }
        let secret = BASE64_STANDARD.decode(required(&table, "secret")?);
        let secret = Zeroizing::new(secret.map_err(|_| DnsUpdateError::Secret)?);
        let algorithm = optional(&table, "algorithm")?.unwrap_or("hmac-sha256");
        let algorithm = algorithm.trim_end_matches('.').to_ascii_lowercase();
        let zone = optional(&table, "zone")?;
        Ok(Self {
            server: with_port(required(&table, "server")?),
            key_name: required(&table, "key")?
                .parse()
                .map_err(|_| DnsUpdateError::NotName("key"))?,
            algorithm: parse_algorithm(&algorithm)?,
            secret: if secret.is_empty() { return Err(DnsUpdateError::Secret) } else { secret },
            zone: zone.map(parse_zone).transpose()?,
        })
    }

    /// Returns the key that signs updates, in the form of the library.
    ///
    /// # Errors
    /// Never with a key whose signatures have the full length.
    pub(super) fn key(&self) -> Result<Arc<Key>, domain::tsig::NewKeyError> {
        let key = Key::new(self.algorithm, &self.secret, self.key_name.clone(), None, None)?;
        Ok(Arc::new(key))
    }

    pub(super) fn key_name(&self) -> &KeyName {
        &self.key_name
    }
}

impl fmt::Debug for DnsUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("DnsUpdate");
        text.field("server", &self.server).field("key_name", &self.key_name);
        text.field("algorithm", &self.algorithm).field("zone", &self.zone).finish_non_exhaustive()
    }
}

/// The library's error quotes the line, which may be the secret's.
fn syntax_error(text: &str, error: &toml::de::Error) -> DnsUpdateError {
    let line =
        |span: std::ops::Range<usize>| text.get(..span.start).map(|text| text.lines().count());
    let line = error.span().and_then(line).map(|line| format!(" (near line {})", line.max(1)));
    DnsUpdateError::Syntax(line.unwrap_or_default())
}

fn optional<'a>(
    table: &'a toml::Table,
    key: &'static str,
) -> Result<Option<&'a str>, DnsUpdateError> {
    let text = |value: &'a toml::Value| value.as_str().ok_or(DnsUpdateError::NotText(key));
    Ok(table.get(key).map(text).transpose()?.map(str::trim))
}

fn required<'a>(table: &'a toml::Table, key: &'static str) -> Result<&'a str, DnsUpdateError> {
    let text = optional(table, key)?.filter(|text| !text.is_empty());
    text.ok_or(DnsUpdateError::Missing(key))
}

/// SHA-1 is not offered: RFC 8945 recommends SHA-256.
fn parse_algorithm(text: &str) -> Result<Algorithm, DnsUpdateError> {
    match text.parse() {
        Ok(Algorithm::Sha1) | Err(_) => Err(DnsUpdateError::Algorithm),
        Ok(algorithm) => Ok(algorithm),
    }
}

fn parse_zone(text: &str) -> Result<DnsName, DnsUpdateError> {
    text.parse().map_err(|_| DnsUpdateError::NotName("zone"))
}

/// Returns `HOST:PORT`. An IPv6 address without a port may be written without brackets.
fn with_port(server: &str) -> String {
    let is_address = server.parse::<std::net::Ipv6Addr>().is_ok();
    match server.rsplit_once(':') {
        _ if is_address => format!("[{server}]:{DNS_PORT}"),
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => server.to_owned(),
        _ => format!("{server}:{DNS_PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "c2VjcmV0LW9mLXRoaXMtdGVzdA==";

    fn file(changes: &[(&str, &str)]) -> String {
        let mut values = vec![
            ("server", "\"127.0.0.1:5353\""),
            ("key", "\"balancer\""),
            ("secret", "\"c2VjcmV0LW9mLXRoaXMtdGVzdA==\""),
        ];
        values.retain(|(key, _)| changes.iter().all(|(changed, _)| changed != key));
        let lines = values.iter().chain(changes).filter(|(_, value)| !value.is_empty());
        let lines: Vec<_> = lines.map(|(key, value)| format!("{key} = {value}")).collect();
        lines.join("\n")
    }

    #[test]
    fn mistake_in_file_is_named_without_its_text() {
        for (changes, expected) in [
            (vec![("secret", "")], DnsUpdateError::Missing("secret")),
            (vec![("secret", "\"\"")], DnsUpdateError::Missing("secret")),
            (vec![("server", "")], DnsUpdateError::Missing("server")),
            (vec![("key", "5")], DnsUpdateError::NotText("key")),
            (vec![("key", "\"a..b\"")], DnsUpdateError::NotName("key")),
            (vec![("zone", "\"a..b\"")], DnsUpdateError::NotName("zone")),
            (vec![("algorithm", "\"hmac-md5\"")], DnsUpdateError::Algorithm),
            (vec![("algorithm", "\"hmac-sha1\"")], DnsUpdateError::Algorithm),
            (vec![("secret", "\"s e c r e t\"")], DnsUpdateError::Secret),
            (vec![("sekret", "\"x\"")], DnsUpdateError::UnknownKey),
            (vec![("secret", SECRET)], DnsUpdateError::Syntax(" (near line 3)".to_owned())),
        ] {
            let error = DnsUpdate::parse(&file(&changes)).unwrap_err();
            assert_eq!(error, expected, "{changes:?}");
            assert!(!format!("{error} {error:?}").contains("c2Vj"), "{error}");
        }
    }

    #[test]
    fn file_names_server_key_and_zone() {
        for (server, expected) in [
            ("ns1.example.com", "ns1.example.com:53"),
            ("ns1.example.com:5353", "ns1.example.com:5353"),
            ("192.0.2.1", "192.0.2.1:53"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
        ] {
            let text = file(&[("server", &format!("{server:?}")), ("zone", "\"Example.com.\"")]);
            let update = DnsUpdate::parse(&text).unwrap();
            assert_eq!(update.server, expected);
            assert_eq!(update.zone, Some("example.com".parse().unwrap()));
        }
    }

    #[test]
    fn debug_text_has_no_secret() {
        let update = DnsUpdate::parse(&file(&[("algorithm", "\"HMAC-SHA512.\"")])).unwrap();
        let text = format!("{update:?}");
        assert!(text.contains("Sha512") && !text.contains("115, 101"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
