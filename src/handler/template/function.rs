//! Functions and filters beyond Jinja's own: docker-pygen's, and those of docker-gen that help.

#![allow(clippy::needless_pass_by_value, reason = "it is how minijinja hands arguments over")]

use super::{guard, jinja::some, limit::bounded, outside::Outside, value::List};
use minijinja::{
    Environment, Error, ErrorKind, State, Value, filters, tests,
    value::{Kwargs, Rest, ValueKind},
};
use regex_lite::Regex;
use sha1::{Digest, Sha1};
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

type Answer<T = Value> = Result<T, Error>;

pub(super) fn add(environment: &mut Environment<'static>, outside: &Outside) {
    guard::add(environment);
    let it = environment;
    it.add_filter("any", |list: Value| Ok::<_, Error>(list.try_iter()?.any(|it| it.is_true())));
    it.add_filter("all", |list: Value| Ok::<_, Error>(list.try_iter()?.all(|it| it.is_true())));
    it.add_filter("group_by", group_by);
    it.add_filter("group_by_multi", group_by_multi);
    it.add_filter("group_by_label", group_by_label);
    add_wheres(it);
    it.add_filter("sort_objects_by", sort_objects_by);
    it.add_filter("intersect", |left: Vec<Value>, right: Vec<Value>| {
        left.into_iter().filter(|it| is_among(it, &right)).collect::<Vec<_>>()
    });
    it.add_filter("keys", |map: Value| Ok::<_, Error>(map.try_iter()?.collect::<Vec<_>>()));
    it.add_filter("closest", closest);
    it.add_filter("contains", |state: &State<'_, '_>, map: Value, key: Value| {
        tests::is_in(state, &key, &map)
    });
    it.add_filter("parse_bool", parse_bool);
    it.add_filter("query_escape", |text: Value| {
        Ok::<_, Error>(filters::urlencode(&text)?.replace("%20", "+").replace('/', "%2F"))
    });
    it.add_filter("sha1", |text: &str| {
        Sha1::digest(text).iter().fold(String::new(), |mut hex, byte| {
            // Writing to a text cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    });
    it.add_filter("json", |value: Value| {
        serde_json::to_string(&value).map_err(|error| wrong(error.to_string()))
    });
    it.add_filter("parse_json", |text: &str| {
        // In the order in which it is written.
        serde_json::from_str::<Value>(text).map_err(|error| wrong(format!("no JSON: {error}")))
    });
    it.add_filter("split_n", |text: &str, separator: &str, most: usize| {
        text.splitn(most, separator).map(str::to_owned).collect::<Vec<_>>()
    });
    it.add_filter("to_lower", |text: &str| text.to_lowercase());
    it.add_filter("to_upper", |text: &str| text.to_uppercase());
    it.add_filter("trim_prefix", |text: &str, it: &str| {
        text.strip_prefix(it).unwrap_or(text).to_owned()
    });
    it.add_filter("trim_suffix", |text: &str, it: &str| {
        text.strip_suffix(it).unwrap_or(text).to_owned()
    });
    it.add_filter("comment", |text: &str, sign: &str| {
        let lines: Vec<_> = text.lines().collect();
        bounded(lines.len().saturating_mul(sign.len()).saturating_add(text.len()))?;
        let lines = lines.into_iter().map(|line| format!("{sign}{line}"));
        Ok::<_, Error>(lines.collect::<Vec<_>>().join("\n"))
    });
    it.add_filter("nginx_quote", |text: Value| {
        some(&text)?;
        nginx_quote(text.as_str().map_or_else(|| text.to_string(), str::to_owned).trim())
    });
    it.add_filter("must_be_one_of", must_be_one_of);
    it.add_filter("must_be_int", must_be_int);
    it.add_function("coalesce", |all: Rest<Value>| {
        // An environment's variable that is not there is an empty text.
        all.iter().find(|it| !is_nothing(it)).cloned().unwrap_or_else(|| Value::from(()))
    });
    it.add_function("when", |condition: Value, yes: Value, no: Option<Value>| {
        if condition.is_true() { yes } else { no.unwrap_or_else(|| Value::from("")) }
    });
    let outside = Arc::new(outside.clone());
    let here = Arc::clone(&outside);
    it.add_function("dir", move |folder: &str| here.names(folder));
    let here = Arc::clone(&outside);
    it.add_function("exists", move |path: &str| here.exists(path));
    it.add_function("read_config", move |key: &str, given: Rest<Value>, named: Kwargs| {
        read_config(&outside, key, &given, &named)
    });
}

/// Those that keep some of a list.
fn add_wheres(it: &mut Environment<'static>) {
    it.add_filter("where", |list: Value, path: &str, value: Value| {
        keep(&list, |it| Ok(is_alike(&at(it, path)?, &value)))
    });
    it.add_filter("where_not", |list: Value, path: &str, value: Value| {
        keep(&list, |it| Ok(!is_alike(&at(it, path)?, &value)))
    });
    it.add_filter("where_exist", |list: Value, path: &str| {
        keep(&list, |it| Ok(!is_nothing(&at(it, path)?)))
    });
    it.add_filter("where_not_exist", |list: Value, path: &str| {
        keep(&list, |it| Ok(is_nothing(&at(it, path)?)))
    });
    it.add_filter("where_any", |list: Value, path: &str, separator: &str, words: Vec<Value>| {
        keep(&list, |it| {
            let parts = parts(&at(it, path)?, separator);
            Ok(words.iter().any(|word| parts.contains(&plain(word))))
        })
    });
    it.add_filter("where_all", |list: Value, path: &str, separator: &str, words: Vec<Value>| {
        keep(&list, |it| {
            let parts = parts(&at(it, path)?, separator);
            Ok(words.iter().all(|word| parts.contains(&plain(word))))
        })
    });
    it.add_filter("where_label_exists", |list: Value, label: &str| {
        keep(&list, |it| Ok(labelled(it, label)?.is_some()))
    });
    it.add_filter("where_label_does_not_exist", |list: Value, label: &str| {
        keep(&list, |it| Ok(labelled(it, label)?.is_none()))
    });
    it.add_filter("where_label_value_matches", |list: Value, label: &str, pattern: &str| {
        let pattern = Regex::new(pattern).map_err(|error| wrong(error.to_string()))?;
        keep(&list, |it| Ok(labelled(it, label)?.is_some_and(|value| pattern.is_match(&value))))
    });
}

pub(super) fn wrong(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text.into())
}

/// `labels.web`, `env.VIRTUAL_HOST`, `networks.first.id`: a name with dots in it is a label's, if one has it.
pub(super) fn at(it: &Value, path: &str) -> Answer {
    let mut here = it.clone();
    let mut rest = path;
    while !rest.is_empty() {
        if is_nothing(&here) {
            return Ok(Value::from(()));
        }
        if let Ok(whole) = here.get_item(&Value::from(rest))
            && !whole.is_undefined()
        {
            return Ok(whole);
        }
        let (name, others) = rest.split_once('.').unwrap_or((rest, ""));
        here = match name.parse::<usize>() {
            Ok(index) => here.get_item_by_index(index)?,
            Err(_) => here.get_attr(name)?,
        };
        rest = others;
    }
    Ok(here)
}

fn is_nothing(it: &Value) -> bool {
    it.is_none() || it.is_undefined() || it.as_str() == Some("")
}

fn labelled(it: &Value, label: &str) -> Answer<Option<String>> {
    let value = it.get_attr("labels")?.get_item(&Value::from(label))?;
    Ok(value.as_str().map(str::to_owned))
}

fn keep(list: &Value, mut is: impl FnMut(&Value) -> Answer<bool>) -> Answer {
    let mut kept = Vec::new();
    for it in list.try_iter()? {
        if is(&it)? {
            kept.push(it);
        }
    }
    Ok(List::some_of(list, kept))
}

/// Labels and variables are texts, ports and the like are numbers: `'80'` means 80 as well.
fn is_alike(left: &Value, right: &Value) -> bool {
    let is_plain =
        |it: &Value| matches!(it.kind(), ValueKind::String | ValueKind::Number | ValueKind::Bool);
    left == right
        || (left.kind() != right.kind()
            && is_plain(left)
            && is_plain(right)
            && plain(left) == plain(right))
}

fn is_among(value: &Value, all: &[Value]) -> bool {
    all.iter().any(|it| is_alike(it, value))
}

/// `true` and `false` as labels and docker-gen have them.
fn plain(value: &Value) -> String {
    match (value.as_str(), value.kind()) {
        (Some(text), _) => text.to_owned(),
        (None, ValueKind::Bool) => value.is_true().to_string(),
        (None, _) => value.to_string(),
    }
}

fn parts(value: &Value, separator: &str) -> Vec<String> {
    plain(value).split(separator).map(|it| it.trim().to_owned()).collect()
}

/// What has no value is in no group, unless there is a default; groups are sorted by their key.
fn grouped(list: &Value, keys: impl Fn(&Value) -> Answer<Vec<Value>>) -> Answer {
    let mut groups: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
    for it in list.try_iter()? {
        for key in keys(&it)? {
            groups.entry(key).or_default().push(it.clone());
        }
    }
    let groups = groups.into_iter().map(|(key, items)| (key, List::some_of(list, items)));
    Ok(Value::from_pairs(groups))
}

fn or(value: Value, default: Option<&Value>) -> Vec<Value> {
    let value = if is_nothing(&value) { default.cloned() } else { Some(value) };
    value.into_iter().collect()
}

fn group_by(list: Value, path: &str, default: Option<Value>) -> Answer {
    grouped(&list, |it| Ok(or(at(it, path)?, default.as_ref())))
}

fn group_by_label(list: Value, label: &str, default: Option<Value>) -> Answer {
    grouped(&list, |it| Ok(or(labelled(it, label)?.map(Value::from).into(), default.as_ref())))
}

fn group_by_multi(list: Value, path: &str, separator: &str) -> Answer {
    grouped(&list, |it| {
        let parts = parts(&at(it, path)?, separator).into_iter();
        Ok(parts.filter(|it| !it.is_empty() && it != "None").map(Value::from).collect())
    })
}

fn sort_objects_by(list: Value, path: &str, named: Kwargs) -> Answer {
    let reverse = named.get::<Option<bool>>("reverse")?.unwrap_or(false);
    named.assert_all_used()?;
    let keyed = list.try_iter()?.map(|it| Ok((at(&it, path)?, it)));
    let mut keyed = keyed.collect::<Answer<Vec<_>>>()?;
    keyed.sort_by(|(a, _), (b, _)| if reverse { b.cmp(a) } else { a.cmp(b) });
    Ok(List::some_of(&list, keyed.into_iter().map(|(_, it)| it).collect()))
}

/// The longest that is a part of the text.
fn closest(words: Vec<String>, text: &str) -> String {
    let within = words.into_iter().filter(|word| text.contains(word.as_str()));
    within.rev().max_by_key(String::len).unwrap_or_default()
}

/// The words of Go, in which docker-gen reads them.
fn parse_bool(value: Value) -> Answer<bool> {
    match (value.kind(), value.as_str()) {
        (ValueKind::Bool, _) => Ok(value.is_true()),
        (_, Some("1" | "t" | "T" | "true" | "TRUE" | "True")) => Ok(true),
        (_, Some("0" | "f" | "F" | "false" | "FALSE" | "False")) => Ok(false),
        _ => Err(wrong(format!("{value:?} is neither true nor false"))),
    }
}

fn must_be_one_of(value: Value, allowed: Vec<Value>) -> Answer {
    if is_among(&value, &allowed) {
        return Ok(value);
    }
    let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
    Err(wrong(format!("{value:?} is none of {}", allowed.join(", "))))
}

fn must_be_int(value: Value, least: Option<i64>, most: Option<i64>) -> Answer<i64> {
    let number = value.as_str().map_or_else(|| value.as_i64(), |it| it.trim().parse().ok());
    let number = number.ok_or_else(|| wrong(format!("{value:?} is no whole number")))?;
    let (least, most) = (least.unwrap_or(i64::MIN), most.unwrap_or(i64::MAX));
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(wrong(format!("{number} is not from {least} to {most}")))
}

/// One word for nginx: in quotes where it would be several, or none.
fn nginx_quote(text: &str) -> Answer<String> {
    let is_plain = |c: char| !c.is_whitespace() && !"\"'\\;{}#".contains(c);
    match (text.contains('"'), text.contains('\'')) {
        _ if text.contains(['\n', '\r']) => Err(wrong("a word of nginx's has one line")),
        (true, true) => Err(wrong(format!("{text:?} has both kinds of quotes"))),
        (true, false) => Ok(format!("'{text}'")),
        _ if text.chars().all(is_plain) => Ok(text.to_owned()),
        _ => Ok(format!("\"{text}\"")),
    }
}

/// `read_config(key, path=None, default=None, single_config=False, fallback_to_env=True)`
fn read_config(outside: &Outside, key: &str, given: &[Value], named: &Kwargs) -> Answer {
    let argument = |at: usize, name: &str| {
        let named: Option<Value> = named.get(name)?;
        Ok::<_, Error>(named.or_else(|| given.get(at).cloned()).filter(|it| !it.is_none()))
    };
    let path = argument(0, "path")?;
    let default = argument(1, "default")?;
    let whole = argument(2, "single_config")?.is_some_and(|it| it.is_true());
    let env = argument(3, "fallback_to_env")?.is_none_or(|it| it.is_true());
    named.assert_all_used()?;
    let found = outside.config(key, path.as_ref().and_then(Value::as_str), whole);
    let found = found.or_else(|| outside.env.get(key).cloned().filter(|_| env));
    Ok(found.map(Value::from).or(default).unwrap_or_else(|| Value::from(())))
}
