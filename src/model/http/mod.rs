//! Types of the values of options that act on requests and responses of HTTP routes.
//!
//! Pure.

pub mod clients;
pub mod closed;
pub mod cors;
pub mod forward_auth;
pub mod header;
pub mod limit;
pub mod password;
pub mod redirect;
pub mod rewrite;
pub mod sticky;
pub mod users;

#[cfg(test)]
mod tests;

use super::{label_option::LabelOption, problem::Reason};

/// Value of a label that opens a route which a policy protects.
const OFF: &str = "off";

/// Returns the reason for a value, or a member of a list, that is invalid. `expected` completes "… is not …".
fn not(option: LabelOption, text: &str, expected: &'static str) -> Reason {
    Reason::InvalidValue { option, text: text.to_owned(), expected }
}
