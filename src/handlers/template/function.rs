//! Functions and filters that Jinja does not have: all of docker-pygen's, and useful ones of docker-gen.

#![allow(clippy::needless_pass_by_value, reason = "it is how minijinja hands arguments over")]

use super::{
    environment::TemplateEnv, guard, jinja::reject_none, limit::check_text_length, value::ValueList,
};
use minijinja::{
    Environment, Error, ErrorKind, State, Value, filters, tests,
    value::{Kwargs, Rest, ValueKind},
};
use regex_lite::Regex;
use sha1::{Digest, Sha1};
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

type FunctionResult<T = Value> = Result<T, Error>;

pub(crate) fn add_functions(environment: &mut Environment<'static>, outside: &TemplateEnv) {
    guard::add_guards(environment);
    let item = environment;
    item.add_filter("any", |list: Value| {
        Ok::<_, Error>(list.try_iter()?.any(|value| value.is_true()))
    });
    item.add_filter("all", |list: Value| {
        Ok::<_, Error>(list.try_iter()?.all(|value| value.is_true()))
    });
    item.add_filter("group_by", group_by);
    item.add_filter("group_by_multi", group_by_multi);
    item.add_filter("group_by_label", group_by_label);
    add_where_filters(item);
    item.add_filter("sort_objects_by", sort_objects_by);
    item.add_filter("intersect", |left: Vec<Value>, right: Vec<Value>| {
        left.into_iter().filter(|value| contains_value(value, &right)).collect::<Vec<_>>()
    });
    item.add_filter("keys", |map: Value| Ok::<_, Error>(map.try_iter()?.collect::<Vec<_>>()));
    item.add_filter("closest", closest);
    item.add_filter("contains", |state: &State<'_, '_>, map: Value, key: Value| {
        tests::is_in(state, &key, &map)
    });
    item.add_filter("parse_bool", parse_bool);
    item.add_filter("query_escape", |text: Value| {
        Ok::<_, Error>(filters::urlencode(&text)?.replace("%20", "+").replace('/', "%2F"))
    });
    item.add_filter("sha1", |text: &str| {
        Sha1::digest(text).iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    });
    item.add_filter("json", |value: Value| {
        serde_json::to_string(&value).map_err(|error| invalid_operation(error.to_string()))
    });
    item.add_filter("parse_json", |text: &str| {
        // The order of keys is kept.
        serde_json::from_str::<Value>(text)
            .map_err(|error| invalid_operation(format!("invalid JSON: {error}")))
    });
    item.add_filter("split_n", |text: &str, separator: &str, most: usize| {
        text.splitn(most, separator).map(str::to_owned).collect::<Vec<_>>()
    });
    item.add_filter("to_lower", |text: &str| text.to_lowercase());
    item.add_filter("to_upper", |text: &str| text.to_uppercase());
    item.add_filter("trim_prefix", |text: &str, t: &str| {
        text.strip_prefix(t).unwrap_or(text).to_owned()
    });
    item.add_filter("trim_suffix", |text: &str, t: &str| {
        text.strip_suffix(t).unwrap_or(text).to_owned()
    });
    item.add_filter("comment", |text: &str, sign: &str| {
        let lines: Vec<_> = text.lines().collect();
        check_text_length(lines.len().saturating_mul(sign.len()).saturating_add(text.len()))?;
        let lines = lines.into_iter().map(|line| format!("{sign}{line}"));
        Ok::<_, Error>(lines.collect::<Vec<_>>().join("\n"))
    });
    item.add_filter("nginx_quote", |text: Value| {
        reject_none(&text)?;
        nginx_quote(text.as_str().map_or_else(|| text.to_string(), str::to_owned).trim())
    });
    item.add_filter("must_be_one_of", must_be_one_of);
    item.add_filter("must_be_int", must_be_int);
    item.add_function("coalesce", |all: Rest<Value>| {
        // An environment variable that is not set is an empty string.
        all.iter().find(|value| !is_empty_value(value)).cloned().unwrap_or_else(|| Value::from(()))
    });
    item.add_function("when", |condition: Value, yes: Value, no: Option<Value>| {
        if condition.is_true() { yes } else { no.unwrap_or_else(|| Value::from("")) }
    });
    let outside = Arc::new(outside.clone());
    let current = Arc::clone(&outside);
    item.add_function("dir", move |folder: &str| current.list_folder(folder));
    let current = Arc::clone(&outside);
    item.add_function("exists", move |path: &str| current.exists(path));
    item.add_function("read_config", move |key: &str, given: Rest<Value>, named: Kwargs| {
        read_config(&outside, key, &given, &named)
    });
}

/// Adds filters that select items of a list.
fn add_where_filters(environment: &mut Environment<'static>) {
    environment.add_filter("where", |list: Value, path: &str, value: Value| {
        filter_list(&list, |quoted_value| {
            Ok(loosely_equal(&lookup_path(quoted_value, path)?, &value))
        })
    });
    environment.add_filter("where_not", |list: Value, path: &str, value: Value| {
        filter_list(&list, |quoted_value| {
            Ok(!loosely_equal(&lookup_path(quoted_value, path)?, &value))
        })
    });
    environment.add_filter("where_exist", |list: Value, path: &str| {
        filter_list(&list, |value| Ok(!is_empty_value(&lookup_path(value, path)?)))
    });
    environment.add_filter("where_not_exist", |list: Value, path: &str| {
        filter_list(&list, |value| Ok(is_empty_value(&lookup_path(value, path)?)))
    });
    environment.add_filter(
        "where_any",
        |list: Value, path: &str, separator: &str, words: Vec<Value>| {
            filter_list(&list, |value| {
                let parts = split_value(&lookup_path(value, path)?, separator);
                Ok(words.iter().any(|word| parts.contains(&plain_text(word))))
            })
        },
    );
    environment.add_filter(
        "where_all",
        |list: Value, path: &str, separator: &str, words: Vec<Value>| {
            filter_list(&list, |value| {
                let parts = split_value(&lookup_path(value, path)?, separator);
                Ok(words.iter().all(|word| parts.contains(&plain_text(word))))
            })
        },
    );
    environment.add_filter("where_label_exists", |list: Value, label: &str| {
        filter_list(&list, |value| Ok(label_value(value, label)?.is_some()))
    });
    environment.add_filter("where_label_does_not_exist", |list: Value, label: &str| {
        filter_list(&list, |value| Ok(label_value(value, label)?.is_none()))
    });
    environment.add_filter(
        "where_label_value_matches",
        |list: Value, label: &str, pattern: &str| {
            let pattern =
                Regex::new(pattern).map_err(|error| invalid_operation(error.to_string()))?;
            filter_list(&list, |quoted_value| {
                Ok(label_value(quoted_value, label)?.is_some_and(|value| pattern.is_match(&value)))
            })
        },
    );
}

pub(crate) fn invalid_operation(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text.into())
}

/// Looks up `labels.web`, `env.VIRTUAL_HOST`, `networks.first.id`. A name that contains dots is tried as a label
/// first.
pub(crate) fn lookup_path(value: &Value, path: &str) -> FunctionResult {
    let mut current = value.clone();
    let mut remaining = path;
    while !remaining.is_empty() {
        if is_empty_value(&current) {
            return Ok(Value::from(()));
        }
        if let Ok(whole) = current.get_item(&Value::from(remaining))
            && !whole.is_undefined()
        {
            return Ok(whole);
        }
        let (name, others) = remaining.split_once('.').unwrap_or((remaining, ""));
        current = match name.parse::<usize>() {
            Ok(index) => current.get_item_by_index(index)?,
            Err(_) => current.get_attr(name)?,
        };
        remaining = others;
    }
    Ok(current)
}

fn is_empty_value(value: &Value) -> bool {
    value.is_none() || value.is_undefined() || value.as_str() == Some("")
}

fn label_value(value: &Value, label: &str) -> FunctionResult<Option<String>> {
    let value = value.get_attr("labels")?.get_item(&Value::from(label))?;
    Ok(value.as_str().map(str::to_owned))
}

fn filter_list(list: &Value, mut is: impl FnMut(&Value) -> FunctionResult<bool>) -> FunctionResult {
    let mut matching = Vec::new();
    for value in list.try_iter()? {
        if is(&value)? {
            matching.push(value);
        }
    }
    Ok(ValueList::with_same_kind(list, matching))
}

/// Labels and variables are strings, ports and similar values are numbers: `'80'` also equals 80.
fn loosely_equal(left: &Value, right: &Value) -> bool {
    let is_plain = |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Number | ValueKind::Bool)
    };
    left == right
        || (left.kind() != right.kind()
            && is_plain(left)
            && is_plain(right)
            && plain_text(left) == plain_text(right))
}

fn contains_value(value: &Value, all: &[Value]) -> bool {
    all.iter().any(|quoted_value| loosely_equal(quoted_value, value))
}

/// Returns the value as text, with `true` and `false` in lower case as in labels and docker-gen.
fn plain_text(value: &Value) -> String {
    match (value.as_str(), value.kind()) {
        (Some(text), _) => text.to_owned(),
        (None, ValueKind::Bool) => value.is_true().to_string(),
        (None, _) => value.to_string(),
    }
}

fn split_value(value: &Value, separator: &str) -> Vec<String> {
    plain_text(value).split(separator).map(|text| text.trim().to_owned()).collect()
}

/// Groups items by key, sorted by key. An item without a value is in no group, unless there is a default.
fn group_items(
    list: &Value,
    keys: impl Fn(&Value) -> FunctionResult<Vec<Value>>,
) -> FunctionResult {
    let mut groups: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
    for value in list.try_iter()? {
        for key in keys(&value)? {
            groups.entry(key).or_default().push(value.clone());
        }
    }
    let groups =
        groups.into_iter().map(|(key, items)| (key, ValueList::with_same_kind(list, items)));
    Ok(Value::from_pairs(groups))
}

fn value_or_default(value: Value, default: Option<&Value>) -> Vec<Value> {
    let value = if is_empty_value(&value) { default.cloned() } else { Some(value) };
    value.into_iter().collect()
}

fn group_by(list: Value, path: &str, default: Option<Value>) -> FunctionResult {
    group_items(&list, |value| Ok(value_or_default(lookup_path(value, path)?, default.as_ref())))
}

fn group_by_label(list: Value, label: &str, default: Option<Value>) -> FunctionResult {
    group_items(&list, |value| {
        Ok(value_or_default(label_value(value, label)?.map(Value::from).into(), default.as_ref()))
    })
}

fn group_by_multi(list: Value, path: &str, separator: &str) -> FunctionResult {
    group_items(&list, |value| {
        let parts = split_value(&lookup_path(value, path)?, separator).into_iter();
        Ok(parts.filter(|text| !text.is_empty() && text != "None").map(Value::from).collect())
    })
}

fn sort_objects_by(list: Value, path: &str, named: Kwargs) -> FunctionResult {
    let reverse = named.get::<Option<bool>>("reverse")?.unwrap_or(false);
    named.assert_all_used()?;
    let keyed = list.try_iter()?.map(|value| Ok((lookup_path(&value, path)?, value)));
    let mut keyed = keyed.collect::<FunctionResult<Vec<_>>>()?;
    keyed.sort_by(|(a, _), (b, _)| if reverse { b.cmp(a) } else { a.cmp(b) });
    Ok(ValueList::with_same_kind(&list, keyed.into_iter().map(|(_, value)| value).collect()))
}

/// Returns the longest word that is part of the text.
fn closest(words: Vec<String>, text: &str) -> String {
    let within = words.into_iter().filter(|word| text.contains(word.as_str()));
    within.rev().max_by_key(String::len).unwrap_or_default()
}

/// Parses the boolean words of Go, which docker-gen accepts.
fn parse_bool(value: Value) -> FunctionResult<bool> {
    match (value.kind(), value.as_str()) {
        (ValueKind::Bool, _) => Ok(value.is_true()),
        (_, Some("1" | "t" | "T" | "true" | "TRUE" | "True")) => Ok(true),
        (_, Some("0" | "f" | "F" | "false" | "FALSE" | "False")) => Ok(false),
        _ => Err(invalid_operation(format!("{value:?} is neither true nor false"))),
    }
}

fn must_be_one_of(value: Value, allowed: Vec<Value>) -> FunctionResult {
    if contains_value(&value, &allowed) {
        return Ok(value);
    }
    let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
    Err(invalid_operation(format!("{value:?} is not one of {}", allowed.join(", "))))
}

fn must_be_int(value: Value, least: Option<i64>, most: Option<i64>) -> FunctionResult<i64> {
    let number = value.as_str().map_or_else(|| value.as_i64(), |text| text.trim().parse().ok());
    let number =
        number.ok_or_else(|| invalid_operation(format!("{value:?} is not a whole number")))?;
    let (least, most) = (least.unwrap_or(i64::MIN), most.unwrap_or(i64::MAX));
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(invalid_operation(format!("{number} is not between {least} and {most}")))
}

/// Returns the text as one word for nginx, quoted if necessary.
fn nginx_quote(text: &str) -> FunctionResult<String> {
    let is_plain = |c: char| !c.is_whitespace() && !"\"'\\;{}#".contains(c);
    match (text.contains('"'), text.contains('\'')) {
        _ if text.contains(['\n', '\r']) => {
            Err(invalid_operation("a word for nginx must not contain a line break"))
        }
        (true, true) => Err(invalid_operation(format!("{text:?} contains both kinds of quotes"))),
        (true, false) => Ok(format!("'{text}'")),
        _ if text.chars().all(is_plain) => Ok(text.to_owned()),
        _ => Ok(format!("\"{text}\"")),
    }
}

/// `read_config(key, path=None, default=None, single_config=False, fallback_to_env=True)`
fn read_config(
    outside: &TemplateEnv,
    key: &str,
    given: &[Value],
    named: &Kwargs,
) -> FunctionResult {
    let argument = |at: usize, name: &str| {
        let named: Option<Value> = named.get(name)?;
        Ok::<_, Error>(named.or_else(|| given.get(at).cloned()).filter(|value| !value.is_none()))
    };
    let path = argument(0, "path")?;
    let default = argument(1, "default")?;
    let whole = argument(2, "single_config")?.is_some_and(|value| value.is_true());
    let env = argument(3, "fallback_to_env")?.is_none_or(|value| value.is_true());
    named.assert_all_used()?;
    let found = outside.read_config(key, path.as_ref().and_then(Value::as_str), whole);
    let found = found.or_else(|| outside.env.get(key).cloned().filter(|_| env));
    Ok(found.map(Value::from).or(default).unwrap_or_else(|| Value::from(())))
}
