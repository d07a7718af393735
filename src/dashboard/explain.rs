//! What the explain box answers.
//!
//! Pure.

use crate::{
    haproxy::stat::Counters,
    verb::explain::human,
    view::{
        Picture,
        explain::{self, Outcome, request::Request},
    },
};
use anstream::adapter::strip_str;

/// What becomes of a request that was asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub served: bool,
    /// Lines, to be shown as they are.
    pub text: String,
}

/// What becomes of a GET of this URL; without a scheme it is `http://`.
pub fn explain(url: &str, picture: &Picture, counters: Option<&Counters>) -> Answer {
    let url = url.trim();
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let request = match (whole.parse(), "GET".parse()) {
        (Ok(url), Ok(method)) => Request { method, url },
        (Err(mistake), _) | (_, Err(mistake)) => {
            return Answer { served: false, text: format!("This is no URL: {mistake}") };
        }
    };
    let explanation = explain::explain(&request, picture, counters);
    let served = explanation.outcome == Outcome::Served;
    Answer { served, text: strip_str(&human(&explanation)).to_string() }
}
