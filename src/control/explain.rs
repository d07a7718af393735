//! What `GET /explain?url=…&method=…` asks for.
//!
//! Pure.

use super::failure::Failure;
use crate::view::explain::request::Request;
use std::{fmt::Display, str::FromStr};

/// The method is GET unless it is said.
pub(super) fn request(query: &str) -> Result<Request, Failure> {
    let (mut url, mut method) = (None, None);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match key.as_ref() {
            "url" => url = Some(value),
            "method" => method = Some(value),
            _ => {
                return Err(Failure::NotAsked(format!("there is no {key:?}, only url and method")));
            }
        }
    }
    let url = url.ok_or_else(|| Failure::NotAsked("it has no url".to_owned()))?;
    let method = method.unwrap_or_else(|| "GET".into());
    Ok(Request { method: read("method", &method)?, url: read("url", &url)? })
}

fn read<T: FromStr<Err: Display>>(key: &str, value: &str) -> Result<T, Failure> {
    value.parse().map_err(|why| Failure::NotAsked(format!("{key} {value:?}: {why}")))
}
