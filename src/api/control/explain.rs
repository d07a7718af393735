//! Parses the query of `GET /explain?url=…&method=…&from=…&header=…&user=…`.
//!
//! Pure.

use crate::{
    controller::control_error::ApiError,
    report::explain::request::{ClientAddress, ExplainRequest, RequestHeader, UserName},
};
use std::{fmt::Display, str::FromStr};

/// The method defaults to GET.
pub(crate) fn parse_request(query: &str) -> Result<ExplainRequest, ApiError> {
    let (mut url, mut method, mut from, mut user) = (None, None, None, None);
    let mut headers = Vec::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match key.as_ref() {
            "url" => url = Some(value),
            "method" => method = Some(value),
            "from" => from = Some(value),
            "header" => headers.push(parse_param::<RequestHeader>("header", &value)?),
            "user" => user = Some(parse_param::<UserName>("user", &value)?),
            _ => {
                return Err(ApiError::InvalidQuery(format!(
                    "unknown parameter {key:?}; the parameters are url, method, from, header and user"
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
        .and_then(|request| request.with_headers(headers, user))
        .map_err(|error| ApiError::InvalidQuery(error.to_string()))
}

fn parse_param<T: FromStr<Err: Display>>(key: &str, value: &str) -> Result<T, ApiError> {
    value.parse().map_err(|why| ApiError::InvalidQuery(format!("{key} {value:?}: {why}")))
}
