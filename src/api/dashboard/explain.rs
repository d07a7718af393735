//! What the explain box answers.
//!
//! Pure.

use crate::{
    haproxy::stats::Counters,
    report::{
        StateSnapshot,
        explain::{self, RequestOutcome, request::ExplainRequest},
        explain_text::format_explanation,
    },
};
use anstream::adapter::strip_str;

/// What becomes of a request that was asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainText {
    pub served: bool,
    /// Lines, to be shown as they are.
    pub text: String,
}

/// What becomes of a GET of this URL; without a scheme it is `http://`.
pub fn explain_url(url: &str, state: &StateSnapshot, counters: Option<&Counters>) -> ExplainText {
    let url = url.trim();
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let request = match (whole.parse(), "GET".parse()) {
        (Ok(url), Ok(method)) => ExplainRequest { method, url },
        (Err(error), _) | (_, Err(error)) => {
            return ExplainText { served: false, text: format!("This is not a URL: {error}") };
        }
    };
    let explanation = explain::explain(&request, state, counters);
    let served = explanation.outcome == RequestOutcome::Served;
    ExplainText { served, text: strip_str(&format_explanation(&explanation)).to_string() }
}
