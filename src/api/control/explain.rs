//! Parses the query of `GET /explain?url=…&method=…&from=…`.
//!
//! Pure.

use crate::{
    controller::control_error::ApiError,
    report::explain::request::{ClientAddress, ExplainRequest},
};
use std::{fmt::Display, str::FromStr};

/// The method defaults to GET.
pub(crate) fn parse_request(query: &str) -> Result<ExplainRequest, ApiError> {
    let (mut url, mut method, mut from) = (None, None, None);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match key.as_ref() {
            "url" => url = Some(value),
            "method" => method = Some(value),
            "from" => from = Some(value),
            _ => {
                return Err(ApiError::InvalidQuery(format!(
                    "unknown parameter {key:?}; the parameters are url, method and from"
                )));
            }
        }
    }
    let url =
        url.ok_or_else(|| ApiError::InvalidQuery("the parameter url is missing".to_owned()))?;
    let method = method.unwrap_or_else(|| "GET".into());
    let from = from.map(|from| parse_param::<ClientAddress>("from", &from)).transpose()?;
    let from = from.map(|from| from.0);
    ExplainRequest::with_client(parse_param("method", &method)?, parse_param("url", &url)?, from)
        .map_err(|error| ApiError::InvalidQuery(error.to_string()))
}

fn parse_param<T: FromStr<Err: Display>>(key: &str, value: &str) -> Result<T, ApiError> {
    value.parse().map_err(|why| ApiError::InvalidQuery(format!("{key} {value:?}: {why}")))
}
