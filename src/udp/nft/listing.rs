//! What `nft -j list table` prints, as elements.
//!
//! Pure.

use super::element::Element;
use serde_json::Value;
use std::collections::BTreeSet;

/// An element as map, key and value, in one notation for both sides.
pub type ListedElement = (String, String, String);

/// Returns the elements of all maps and sets in the output of `nft -j list table`, or `None` if it is not that.
pub fn parse_listing(json: &str) -> Option<BTreeSet<ListedElement>> {
    let document: Value = serde_json::from_str(json).ok()?;
    let mut elements = BTreeSet::new();
    for object in document.get("nftables")?.as_array()? {
        let Some(map) = object.get("map").or_else(|| object.get("set")) else { continue };
        let name = map.get("name")?.as_str()?;
        let listed = map.get("elem").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for element in listed {
            let (key, value) = match (element.as_array().map(Vec::as_slice), object.get("map")) {
                (Some([key, value]), Some(_)) => (print(key)?, print(value)?),
                _ => (print(element)?, String::new()),
            };
            elements.insert((name.to_owned(), key, value));
        }
    }
    Some(elements)
}

/// Returns elements in the notation of [`parse_listing`]: marks are decimal.
pub fn expected_listing<'a>(
    elements: impl IntoIterator<Item = &'a Element>,
) -> BTreeSet<ListedElement> {
    let expected = |element: &Element| {
        (element.map.to_string(), with_decimals(&element.key), with_decimals(&element.value))
    };
    elements.into_iter().map(expected).collect()
}

fn with_decimals(text: &str) -> String {
    let word = |word: &str| match word.strip_prefix("0x").map(|hex| u32::from_str_radix(hex, 16)) {
        Some(Ok(number)) => number.to_string(),
        _ => word.to_owned(),
    };
    text.split(" . ").map(word).collect::<Vec<_>>().join(" . ")
}

fn print(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Object(object) => {
            let parts = object.get("concat")?.as_array()?;
            let parts: Option<Vec<_>> = parts.iter().map(print).collect();
            Some(parts?.join(" . "))
        }
        _ => None,
    }
}
