//! Questions of HAProxy's Lua program.
//!
//! Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{fmt, net::IpAddr};
use zeroize::Zeroizing;

/// Whether a client's credential is one of a set of users.
pub(super) struct Question {
    pub(super) set: String,
    /// An IPv4 address, or the first one of a /64 network of IPv6.
    pub(super) client: IpAddr,
    /// `name:password`
    credential: Zeroizing<Vec<u8>>,
}

impl Question {
    /// Parses `SET CLIENT CREDENTIAL`, with the credential as in the header of a request (RFC 7617): in base64, with a
    /// colon.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (set, client, credential) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        let credential = Zeroizing::new(STANDARD.decode(credential).ok()?);
        credential.contains(&b':').then_some(())?;
        let client = client.parse::<IpAddr>().ok()?.to_canonical();
        Some(Self { set: set.to_owned(), client, credential })
    }

    /// Returns the name and the password.
    pub(super) fn credential(&self) -> (&[u8], &[u8]) {
        let mut parts = self.credential.splitn(2, |byte| *byte == b':');
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    }
}

/// Hides the credential.
impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Question({} of {})", self.set, self.client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_question_or_nothing() {
        for (line, expected) in [
            ("u1 10.0.0.1 YWxpY2U6c2VjcmV0", Some(("u1", "10.0.0.1", "alice", "secret"))),
            ("u1 2001:db8:: YTpiOmM=", Some(("u1", "2001:db8::", "a", "b:c"))),
            ("u1 ::ffff:10.0.0.1 OmE=", Some(("u1", "10.0.0.1", "", "a"))),
            ("u1 10.0.0.1 YWxpY2U6", Some(("u1", "10.0.0.1", "alice", ""))),
            ("u1 10.0.0.1 YWxpY2U=", None),
            ("u1 10.0.0.1 ", None),
            ("u1 10.0.0.1 YWxpY2U", None),
            ("u1 10.0.0.1 %", None),
            ("u1 10.0.0.1 YWxpY2U6 x", None),
            ("u1 client YWxpY2U6", None),
            ("u1 10.0.0.1", None),
            ("", None),
        ] {
            let question = Question::parse(line);
            let parts = question.as_ref().map(|question| {
                let (name, password) = question.credential();
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                let client = question.client.to_string();
                (question.set.clone(), client, text(name), text(password))
            });
            let text = str::to_owned;
            let expected = expected.map(|(a, b, c, d)| (text(a), text(b), text(c), text(d)));
            assert_eq!(parts, expected, "{line}");
        }
    }
}
