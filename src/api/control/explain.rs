//! Parses the query of `GET /explain?url=…&method=…`.
//!
//! Pure.

use crate::{controller::control_error::ApiError, report::explain::request::ExplainRequest};
use std::{fmt::Display, str::FromStr};

/// The method defaults to GET.
pub(crate) fn parse_request(query: &str) -> Result<ExplainRequest, ApiError> {
    let (mut url, mut method) = (None, None);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match key.as_ref() {
            "url" => url = Some(value),
            "method" => method = Some(value),
            _ => {
                return Err(ApiError::InvalidQuery(format!(
                    "unknown parameter {key:?}; the parameters are url and method"
                )));
            }
        }
    }
    let url =
        url.ok_or_else(|| ApiError::InvalidQuery("the parameter url is missing".to_owned()))?;
    let method = method.unwrap_or_else(|| "GET".into());
    Ok(ExplainRequest { method: parse_param("method", &method)?, url: parse_param("url", &url)? })
}

fn parse_param<T: FromStr<Err: Display>>(key: &str, value: &str) -> Result<T, ApiError> {
    value.parse().map_err(|why| ApiError::InvalidQuery(format!("{key} {value:?}: {why}")))
}
