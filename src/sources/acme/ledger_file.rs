//! The file of the ledger. It is on disk before an order begins.

use super::ledger::{Ledger, Limits};
use crate::support::atomic_file::{FileAccess, WriteError, stage_file};
use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};
use tracing::warn;

/// Reads the ledger. A damaged file is kept under another name, and the ledger then permits few orders.
///
/// # Errors
/// If the file cannot be read. Without knowing the ledger nothing may be ordered.
pub fn read_ledger(path: &Path, limits: &Limits, now: i64) -> io::Result<Ledger> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Ledger::default()),
        read => read?,
    };
    parse(&bytes).or_else(|error| {
        let copy = path.with_extension("json.damaged");
        let kept = fs::write(&copy, &bytes)
            .map_or_else(|_| String::new(), |()| format!("; kept as {}", copy.display()));
        warn!(
            "{} is damaged{kept}: {error}; ordering few certificates for a while",
            path.display()
        );
        Ok(Ledger::after_loss(limits, now))
    })
}

/// Returns the ledger of another balancer. `None` if it cannot be read.
pub fn peek_ledger(path: &Path) -> Option<Ledger> {
    parse(&fs::read(path).ok()?).ok()
}

/// A list would also be read as a ledger, with all fields missing.
fn parse(bytes: &[u8]) -> Result<Ledger, serde_json::Error> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes)?;
    serde_json::from_value(object.into())
}

/// Writes the ledger.
pub fn write_ledger(path: &Path, ledger: &Ledger) -> Result<(), WriteError> {
    let text = serde_json::to_string_pretty(ledger)
        .map_err(|error| WriteError { path: path.to_owned(), why: io::Error::other(error) })?;
    stage_file(path, &text, FileAccess::Private)?.replace(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: fn() -> Limits = Limits::default;

    #[test]
    fn written_ledger_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        assert_eq!(read_ledger(&path, &LIMITS(), 0).unwrap(), Ledger::default());
        let mut ledger = Ledger::default();
        ledger.force(&"*.example.com".parse().unwrap());
        write_ledger(&path, &ledger).unwrap();
        assert_eq!(read_ledger(&path, &LIMITS(), 0).unwrap(), ledger);
    }

    #[test]
    fn damaged_ledger_is_kept_and_replaced_by_a_cautious_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.json");
        for damage in ["", "{", "[]", "{\"hosts\":{\"not a host\":{}}}", "\0\0\0"] {
            fs::write(&path, damage).unwrap();
            let ledger = read_ledger(&path, &LIMITS(), 1000).unwrap();
            assert_eq!(ledger, Ledger::after_loss(&LIMITS(), 1000), "{damage:?}");
            assert_eq!(
                fs::read_to_string(folder.path().join("ledger.json.damaged")).unwrap(),
                damage
            );
        }
    }

    #[test]
    fn unreadable_ledger_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_ledger(folder.path(), &LIMITS(), 0).is_err());
    }
}
