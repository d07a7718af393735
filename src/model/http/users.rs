//! Users of a route and the hashes of their passwords.
//!
//! Pure. Neither display, debug output nor JSON contains the hashes, only a digest of the whole list. Two lists are
//! equal if their digests are.

use super::{OFF, not, password::PasswordHash};
use crate::model::{label_option::LabelOption, option_value::OptionType, problem::Reason};
use ring::digest::{SHA256, digest};
use serde_json::Value;
use std::{cmp::Ordering, fmt, fmt::Write as _, str::FromStr, sync::Arc};

/// Maximum number of users of a label.
pub const MAX_USERS: usize = 64;

/// Maximum number of users of a file.
pub const MAX_FILE_USERS: usize = 10_000;

/// Length of the digest in characters. It is not of secret length: two lists that differ must not have the same one,
/// whoever wrote them.
const DIGEST_CHARS: usize = 32;

/// Start of the digest in JSON and for people.
const DIGEST_PREFIX: &str = "sha256:";

const EXPECTED: &str = "NAME:HASH, with a hash of htpasswd (bcrypt of cost 4 to 14, $5$, $6$, $apr1$ or {SHA}) and each \
                        name once; htpasswd -nB NAME prints such an entry, and in a compose file each $ is written $$";

/// Users that may use a route; without any the route has no users, and is for everyone.
#[derive(Clone, Default)]
pub struct Users {
    /// Empty for the default.
    digest: String,
    /// Empty as well if only the digest is known: that of HAProxy's map, or of the history.
    users: Arc<[User]>,
}

/// A user and the hash of the password.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: String,
    hash: PasswordHash,
}

/// Why the content of a file is no list of users. Contains nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsersFileError {
    #[error("line {line} is not {EXPECTED}")]
    Line { line: usize },
    #[error("it has no users")]
    Empty,
    #[error("it has more than {MAX_FILE_USERS} users")]
    TooMany,
}

/// Why HAProxy cannot find out whether a password is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoUserCheck {
    /// It was built without Lua.
    Lua,
    /// Its workers run in a chroot, in which docker-balancer's socket does not exist.
    Chroot,
}

/// Result of a question whether a user has a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Right,
    Wrong,
}

impl Users {
    /// Parses the content of a file of `htpasswd`: one entry a line. Empty lines, and those that begin with `#`, are
    /// skipped.
    ///
    /// # Errors
    /// If a line is no entry, names a user again, or if there are no users or more than [`MAX_FILE_USERS`].
    pub fn parse_file(content: &str) -> Result<Self, UsersFileError> {
        let lines = content.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let mut users = Vec::new();
        for (line, text) in lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
            users.push(parse_user(text, &users).ok_or(UsersFileError::Line { line })?);
            if MAX_FILE_USERS < users.len() {
                return Err(UsersFileError::TooMany);
            }
        }
        if users.is_empty() { Err(UsersFileError::Empty) } else { Ok(Self::new(users)) }
    }

    /// Returns the list with this digest, whose users are not known.
    pub fn from_digest(digest: &str) -> Option<Self> {
        let is_hex = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        let is_digest = digest.len() == DIGEST_CHARS && digest.bytes().all(is_hex);
        is_digest.then(|| Self { digest: digest.to_owned(), users: Arc::default() })
    }

    fn new(mut users: Vec<User>) -> Self {
        users.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let mut text = String::new();
        for User { name, hash } in &users {
            writeln!(text, "{name}:{}", hash.text()).expect("writing to a string cannot fail");
        }
        let hash = digest(&SHA256, text.as_bytes());
        let mut digest = String::new();
        for byte in &hash.as_ref()[..DIGEST_CHARS / 2] {
            write!(digest, "{byte:02x}").expect("writing to a string cannot fail");
        }
        Self { digest, users: users.into() }
    }

    /// Whether the route is for everyone.
    pub fn is_none(&self) -> bool {
        self.digest.is_empty()
    }

    /// Whether users and hashes are known, not only the digest.
    pub fn is_known(&self) -> bool {
        !self.users.is_empty()
    }

    /// Returns the digest: 32 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Iterates over the names, sorted. There are none if only the digest is known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(|user| user.name.as_str())
    }

    /// Verifies the password of a user. Takes as long for a user that does not exist. Slow: callers use a thread.
    pub fn verify(&self, name: &[u8], password: &[u8]) -> Verdict {
        let user = self.users.iter().find(|user| user.name.as_bytes() == name);
        let Some(verified) = user.or(self.users.first()) else { return Verdict::Wrong };
        let is_right = verified.hash.verify(password);
        if is_right && user.is_some() { Verdict::Right } else { Verdict::Wrong }
    }
}

/// Parses an entry. `None` if it is none, or if `others` have the name.
fn parse_user(text: &str, others: &[User]) -> Option<User> {
    let (name, hash) = text.split_once(':')?;
    let is_legal = |c: u8| c.is_ascii_graphic() && c != b',';
    let is_name = (1..=64).contains(&name.len()) && name.bytes().all(is_legal);
    let is_new = others.iter().all(|user| user.name != name);
    let hash = PasswordHash::parse(hash)?;
    (is_name && is_new).then(|| User { name: name.to_owned(), hash })
}

impl NoUserCheck {
    /// Whether routes with the option answer 503. An authentication server is asked without docker-balancer.
    pub fn applies_to(self, option: LabelOption) -> bool {
        match option {
            LabelOption::Users => true,
            LabelOption::ForwardAuth => self == Self::Lua,
            _ => false,
        }
    }
}

/// Completes "…, because …".
impl fmt::Display for NoUserCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lua => "this HAProxy was built without Lua; install one with it",
            Self::Chroot => {
                "HAProxy cannot reach docker-balancer from a chroot; remove it from the base file"
            }
        })
    }
}

impl OptionType for Users {
    /// Parses `off` or a digest, which reads back as an equal value.
    fn from_json(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        if text == OFF {
            return Some(Self::default());
        }
        Self::from_digest(text.strip_prefix(DIGEST_PREFIX)?)
    }
}

/// Parses a label. A reason names the position of an entry in the list, and nothing of it.
impl FromStr for Users {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        if text.trim().eq_ignore_ascii_case(OFF) {
            return Ok(Self::default());
        }
        let mut users = Vec::new();
        for (at, member) in text.split(',').map(str::trim).enumerate() {
            let wrong = || not(LabelOption::Users, &format!("entry {}", at + 1), EXPECTED);
            if member.is_empty() {
                return Err(Reason::EmptyMember);
            }
            users.push(parse_user(member, &users).ok_or_else(wrong)?);
        }
        if MAX_USERS < users.len() {
            let count = format!("a list of {}", users.len());
            return Err(not(
                LabelOption::Users,
                &count,
                "a list of at most 64 users; a policy can name a file of more",
            ));
        }
        Ok(Self::new(users))
    }
}

/// Writes the digest, not the value of a label.
impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() { f.write_str(OFF) } else { write!(f, "{DIGEST_PREFIX}{}", self.digest) }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({self})")
    }
}

impl PartialEq for Users {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Users {}

impl PartialOrd for Users {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Users {
    fn cmp(&self, other: &Self) -> Ordering {
        self.digest.cmp(&other.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `secret`.
    const SHA: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
    const APR1: &str = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/";

    fn parse(text: &str) -> Result<Users, String> {
        text.replace("SHA", SHA).replace("APR", APR1).parse().map_err(|r: Reason| r.to_string())
    }

    #[test]
    fn label_is_list_of_users_or_reason_without_its_text() {
        let entry = |n| format!("users: \"entry {n}\" is not {EXPECTED}");
        for (text, expected) in [
            ("alice:SHA", Ok("alice")),
            (" bob:APR , alice:SHA ", Ok("alice,bob")),
            ("a@b.test:SHA,o'neil:SHA", Ok("a@b.test,o'neil")),
            ("alice", Err(entry(1))),
            ("alice:secret", Err(entry(1))),
            ("alice:SHA,bob:hunter2", Err(entry(2))),
            ("alice:SHA,alice:APR", Err(entry(2))),
            (":SHA", Err(entry(1))),
            ("al ice:SHA", Err(entry(1))),
            ("al\u{e9}:SHA", Err(entry(1))),
            ("alice:SHA:x", Err(entry(1))),
            ("sha256:0123456789abcdef0123456789abcdef", Err(entry(1))),
            ("alice:SHA,", Err(Reason::EmptyMember.to_string())),
            ("", Err(Reason::EmptyMember.to_string())),
        ] {
            let names = |users: Users| users.names().collect::<Vec<_>>().join(",");
            assert_eq!(parse(text).map(names), expected.map(str::to_owned), "{text}");
        }
        let many = |count| (0..count).map(|n| format!("u{n}:SHA")).collect::<Vec<_>>().join(",");
        assert!(parse(&many(64)).is_ok());
        assert!(parse(&many(65)).unwrap_err().contains("at most 64"));
    }

    #[test]
    fn list_is_equal_by_content_and_shows_only_digest() {
        let users = parse("alice:SHA,bob:APR").unwrap();
        for (other, is_equal) in [
            ("bob:APR,alice:SHA", true),
            ("alice:SHA", false),
            ("alice:APR,bob:SHA", false),
            ("alice:SHA,bobo:APR", false),
        ] {
            assert_eq!(users == parse(other).unwrap(), is_equal, "{other}");
        }
        let texts = [users.to_string(), format!("{users:?}"), users.to_json().to_string()];
        for text in &texts {
            assert!(!text.contains("5en6") && !text.contains("h9FW"), "{text}");
            assert!(text.contains(users.digest()), "{text}");
        }
        let read = Users::from_json(&users.to_json()).unwrap();
        assert_eq!(read, users);
        assert!(!read.is_known() && !read.is_none());
        assert_eq!(read.verify(b"alice", b"secret"), Verdict::Wrong);
        for json in ["", "sha256:", "sha256:0123", "sha256:0123456789ABCDEF0123456789ABCDEF"] {
            assert_eq!(Users::from_json(&json.into()), None, "{json}");
        }
    }

    #[test]
    fn only_right_password_of_user_is_right() {
        let users = parse("alice:SHA,bob:APR").unwrap();
        for (name, password, expected) in [
            ("alice", "secret", Verdict::Right),
            ("bob", "secret", Verdict::Right),
            ("bob", "Secret", Verdict::Wrong),
            ("carol", "secret", Verdict::Wrong),
            ("", "secret", Verdict::Wrong),
            ("alice", "", Verdict::Wrong),
            ("Alice", "secret", Verdict::Wrong),
        ] {
            assert_eq!(users.verify(name.as_bytes(), password.as_bytes()), expected, "{name}");
        }
        assert_eq!(Users::default().verify(b"alice", b"secret"), Verdict::Wrong);
    }

    #[test]
    fn file_is_read_by_lines() {
        let file = format!("# staff\r\n\nalice:{SHA}\r\n  bob:{APR1}\n");
        let users = Users::parse_file(&file).unwrap();
        assert_eq!(users, parse("alice:SHA,bob:APR").unwrap());
        for (content, expected) in [
            ("", UsersFileError::Empty),
            ("# nobody\n", UsersFileError::Empty),
            ("\nalice\n", UsersFileError::Line { line: 2 }),
            (&format!("alice:{SHA}\nalice:{SHA}"), UsersFileError::Line { line: 2 }),
        ] {
            assert_eq!(Users::parse_file(content), Err(expected), "{content}");
        }
    }
}
