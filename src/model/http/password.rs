//! Hashes of passwords, as in the files of `htpasswd`.
//!
//! Pure. Verification takes up to seconds, which the hash asks for, so callers run it on a thread of its own.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::Md5;
use sha_crypt::{PasswordHash as ShaCryptHash, PasswordVerifier as _, ShaCrypt};
use sha1::{Digest as _, Sha1};
use std::fmt;

/// The costs of bcrypt that are accepted: each step doubles the time, and 14 takes more than a second.
const BCRYPT_COSTS: std::ops::RangeInclusive<u8> = 4..=14;

/// The rounds of sha-crypt that are accepted. The most take about a second.
const SHA_CRYPT_ROUNDS: std::ops::RangeInclusive<u32> = 1000..=500_000;

/// Characters of the hash and the salt of all kinds of crypt(3).
const CRYPT: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Hash of a password. Neither display nor debug output contains it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    kind: HashKind,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HashKind {
    Bcrypt,
    ShaCrypt,
    /// The variant of MD5 crypt(3) by Apache.
    Apr1,
    Sha1,
}

impl PasswordHash {
    /// Parses a hash. `None` if it is of another kind, is malformed, or would take longer than a second to verify.
    pub fn parse(text: &str) -> Option<Self> {
        let kind = [
            (HashKind::Bcrypt, is_bcrypt as fn(&str) -> bool),
            (HashKind::ShaCrypt, is_sha_crypt),
            (HashKind::Apr1, |text| apr1_parts(text).is_some()),
            (HashKind::Sha1, |text| sha1_digest(text).is_some()),
        ];
        let (kind, _) = kind.into_iter().find(|(_, matches)| matches(text))?;
        Some(Self { kind, text: text.to_owned() })
    }

    /// Returns the hash as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the password has this hash.
    pub fn verify(&self, password: &[u8]) -> bool {
        match self.kind {
            HashKind::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            HashKind::ShaCrypt => ShaCryptHash::new(&self.text)
                .is_ok_and(|hash| ShaCrypt::default().verify_password(password, &hash).is_ok()),
            HashKind::Apr1 => apr1_parts(&self.text).is_some_and(|(salt, hash)| {
                are_equal(apr1(password, salt.as_bytes()).as_bytes(), hash.as_bytes())
            }),
            HashKind::Sha1 => sha1_digest(&self.text)
                .is_some_and(|digest| are_equal(&Sha1::digest(password), &digest)),
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({:?})", self.kind)
    }
}

fn is_crypt(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|c| CRYPT.contains(&c))
}

/// `$2y$12$` and 53 characters.
fn is_bcrypt(text: &str) -> bool {
    let Some(("2a" | "2b" | "2y", text)) =
        text.strip_prefix('$').and_then(|text| text.split_once('$'))
    else {
        return false;
    };
    let Some((cost, hash)) = text.split_once('$') else { return false };
    let is_number = cost.len() == 2 && cost.bytes().all(|c| c.is_ascii_digit());
    is_number
        && cost.parse().is_ok_and(|cost| BCRYPT_COSTS.contains(&cost))
        && is_crypt(hash, 53..=53)
}

/// `$6$salt$` or `$6$rounds=10000$salt$`, and 86 characters; `$5$`, and 43.
fn is_sha_crypt(text: &str) -> bool {
    let (length, text) = match (text.strip_prefix("$5$"), text.strip_prefix("$6$")) {
        (Some(text), _) => (43, text),
        (_, Some(text)) => (86, text),
        _ => return false,
    };
    let text = match text.strip_prefix("rounds=").map(|text| text.split_once('$')) {
        None => text,
        Some(Some((rounds, text))) if has_possible_rounds(rounds) => text,
        Some(_) => return false,
    };
    let parts = text.split_once('$');
    parts.is_some_and(|(salt, hash)| is_crypt(salt, 1..=16) && is_crypt(hash, length..=length))
}

fn has_possible_rounds(text: &str) -> bool {
    let is_plain = text.starts_with(|c: char| matches!(c, '1'..='9'));
    is_plain && text.parse().is_ok_and(|rounds| SHA_CRYPT_ROUNDS.contains(&rounds))
}

/// Returns salt and hash of `$apr1$salt$hash`.
fn apr1_parts(text: &str) -> Option<(&str, &str)> {
    let (salt, hash) = text.strip_prefix("$apr1$")?.split_once('$')?;
    (is_crypt(salt, 1..=8) && is_crypt(hash, 22..=22)).then_some((salt, hash))
}

fn sha1_digest(text: &str) -> Option<Vec<u8>> {
    let digest = STANDARD.decode(text.strip_prefix("{SHA}")?).ok()?;
    (digest.len() == 20).then_some(digest)
}

/// Compares in a time that does not depend on the content.
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (one, other)| all | (one ^ other));
    one.len() == other.len() && differences == 0
}

/// Returns the hash of Apache's variant of MD5 crypt(3), without the salt (`apr_md5_encode` of APR).
fn apr1(password: &[u8], salt: &[u8]) -> String {
    let alternate =
        Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut digest = Md5::new().chain_update(password).chain_update("$apr1$").chain_update(salt);
    for block in password.chunks(alternate.len()) {
        digest.update(&alternate[..block.len()]);
    }
    let mut length = password.len();
    while length != 0 {
        digest.update(if length & 1 == 1 { &[0] } else { &password[..1] });
        length >>= 1;
    }
    let mut last = digest.finalize();
    for round in 0..1000 {
        let mut digest = Md5::new();
        let (first, second) =
            if round % 2 == 1 { (password, &last[..]) } else { (&last[..], password) };
        digest.update(first);
        if round % 3 != 0 {
            digest.update(salt);
        }
        if round % 7 != 0 {
            digest.update(password);
        }
        digest.update(second);
        last = digest.finalize();
    }
    let triples = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let group =
        |bytes: [usize; 3]| bytes.iter().fold(0, |all, at| (all << 8) | usize::from(last[*at]));
    let mut text = String::new();
    for (value, characters) in
        triples.map(|bytes| (group(bytes), 4)).into_iter().chain([(usize::from(last[11]), 2)])
    {
        let digits = (0..characters).map(|at| char::from(CRYPT[(value >> (6 * at)) & 63]));
        text.extend(digits);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes of `secret`, by htpasswd and openssl.
    const HASHES: [&str; 9] = [
        "$2y$04$NhF8G1lzzSkyqYDrXqRPfeFyURjDI30WULSiR2B9Zj/MsGkylVOxO",
        "$2a$04$NhF8G1lzzSkyqYDrXqRPfeFyURjDI30WULSiR2B9Zj/MsGkylVOxO",
        "$2b$04$NhF8G1lzzSkyqYDrXqRPfeFyURjDI30WULSiR2B9Zj/MsGkylVOxO",
        "$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.",
        "$5$rounds=1000$abcdefgh$XIppta5rT8zJUu4vAOKQXrwq9uY4Ijlz6VjyOmkx5i4",
        "$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.",
        "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/",
        "$apr1$a$PtM1vJaZieHDFk40mKMu6/",
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    ];

    #[test]
    fn hash_of_each_kind_is_verified() {
        for text in HASHES {
            let hash = PasswordHash::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert!(hash.verify(b"secret"), "{text}");
            for wrong in [&b"Secret"[..], b"", b"secret ", b"secre", b"a\0b", &[0xff; 200]] {
                assert!(!hash.verify(wrong), "{text} {wrong:?}");
            }
            assert!(!format!("{hash:?}").contains(&text[4..]), "{text}");
        }
    }

    #[test]
    fn malformed_or_slow_hash_is_rejected() {
        let bcrypt = &HASHES[0][7..];
        let sha256 = &HASHES[3][12..];
        for text in [
            "",
            "secret",
            "$2y$04$",
            "$2x$04$NhF8G1lzzSkyqYDrXqRPfeFyURjDI30WULSiR2B9Zj/MsGkylVOxO",
            &format!("$2y$03${bcrypt}"),
            &format!("$2y$15${bcrypt}"),
            &format!("$2y$31${bcrypt}"),
            &format!("$2y$+5${bcrypt}"),
            &format!("$2y$04${bcrypt}x"),
            &format!("$2y$04${}-", &bcrypt[1..]),
            &format!("$$2y$$04$${bcrypt}"),
            &format!("$5$abcdefgh${sha256}."),
            &format!("$6$abcdefgh${sha256}"),
            &format!("$5$${sha256}"),
            &format!("$5$rounds=999$abcdefgh${sha256}"),
            &format!("$5$rounds=+1000$abcdefgh${sha256}"),
            &format!("$5$rounds=500001$abcdefgh${sha256}"),
            &format!("$5$rounds=$abcdefgh${sha256}"),
            &format!("$5$abcdefghabcdefgh0${sha256}"),
            "$1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/",
            "$apr1$abcdefghi$h9FWgUz3n9YxylKLlR5SQ/",
            "$apr1$$h9FWgUz3n9YxylKLlR5SQ/",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ",
            "{SHA}5en6",
            "{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        ] {
            assert_eq!(PasswordHash::parse(text), None, "{text}");
        }
    }

    #[test]
    fn apr1_equals_that_of_openssl_for_each_length() {
        for (password, salt, hash) in APR1 {
            assert_eq!(apr1(password.as_bytes(), salt.as_bytes()), hash, "{password}");
        }
    }

    const APR1: [(&str, &str, &str); 4] = [
        ("x", "a", "CwOs8ZUV1Vmp.iAwImfTn1"),
        ("0123456789abcdef", "saltsalt", "noZiBycUL1t9WTQEO7/nr1"),
        ("0123456789abcdefg", "./", "3yBdsCBJCFS8euKxEuzZm."),
        ("0123456789abcdef0123456789abcdef-x", "Zz9", "ph5TtBhVrsKOWBSHPKfEk/"),
    ];
}
