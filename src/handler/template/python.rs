//! Methods of Python's texts, lists and dicts, as templates of Jinja2 call them.
//!
//! Pure. minijinja-contrib has the most of them; here are those that it lacks.

use super::{
    function::wrong,
    jinja::{arguments, filled, replaced, some},
    limit::bounded,
};
use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Tuple, ValueKind, from_args},
};
use minijinja_contrib::pycompat::unknown_method_callback;

type Answer = Result<Value, Error>;

/// `labels['absent'].split(',')`: what is not there is an empty text, as in docker-pygen.
pub(super) fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Answer {
    let empty = Value::from("");
    let value = if value.is_undefined() && !IN_PLACE.contains(&method) { &empty } else { value };
    if let (Some(_), "format" | "join") = (value.as_str(), method) {
        args.iter().try_for_each(some)?;
    }
    if let Some(text) = value.as_str() {
        fits(text, method, args)?;
    }
    let by_place;
    let args = match method {
        "split" | "rsplit" => {
            let places = arguments(args, ["sep", "maxsplit"])?;
            by_place = places.map(|it| if it.is_undefined() { Value::from(()) } else { it });
            &by_place
        }
        _ => args,
    };
    let own = match (value.as_str(), value.kind()) {
        (Some(text), _) => of_text(text, method, args),
        (None, ValueKind::Seq | ValueKind::Iterable) => of_list(value, method, args),
        (None, ValueKind::Map) if method == "copy" => Ok(value.clone()),
        _ => Err(unknown()),
    };
    match own {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => {
            let known = unknown_method_callback(state, value, method, args);
            known.map_err(|error| in_place(error, method))
        }
        own => own,
    }
}

/// # Errors
/// What it makes may be too long a text.
fn fits(text: &str, method: &str, args: &[Value]) -> Result<(), Error> {
    match (method, args) {
        ("format", args) => {
            let named = args.iter().filter(|it| it.is_kwargs());
            let named = named.filter_map(|it| it.try_iter().ok().map(|keys| (it, keys)));
            let named = named.flat_map(|(it, keys)| keys.filter_map(|key| it.get_item(&key).ok()));
            filled(text, '{', &args.iter().cloned().chain(named).collect::<Vec<_>>())
        }
        ("replace", [old, new, ..]) => {
            replaced(text, old.as_str().unwrap_or_default(), new.as_str().unwrap_or_default())
        }
        ("join", [list]) => {
            let mut bytes = 0_usize;
            for it in list.try_iter().into_iter().flatten() {
                bytes = bytes.saturating_add(text.len() + it.as_str().map_or(0, str::len));
                bounded(bytes)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn unknown() -> Error {
    Error::from(ErrorKind::UnknownMethod)
}

/// Those that would change the list or the dict itself.
const IN_PLACE: &[&str] =
    &["append", "clear", "extend", "insert", "pop", "remove", "setdefault", "sort", "update"];

fn in_place(error: Error, method: &str) -> Error {
    if error.kind() != ErrorKind::UnknownMethod || !IN_PLACE.contains(&method) {
        return error;
    }
    wrong(format!(
        "there is no {method}: a list or a dict is never changed, but made anew, as in {{% set ns.all = ns.all + [x] %}} \
         after {{% set ns = namespace(all=[]) %}}, or in dict(d, key=value)"
    ))
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Answer {
    Ok(match method {
        "rsplit" => rsplit(text, args)?,
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            let parts = text.split_once(separator);
            parts.map_or_else(
                || three(text, "", ""),
                |(before, after)| three(before, separator, after),
            )
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let parts = text.rsplit_once(separator);
            parts.map_or_else(
                || three("", "", text),
                |(before, after)| three(before, separator, after),
            )
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            let missing = missing(text, width)?;
            Value::from(format!("{sign}{}{digits}", "0".repeat(missing)))
        }
        "ljust" | "rjust" | "center" => justified(text, method, args)?,
        "swapcase" => Value::from(text.chars().flat_map(swapped).collect::<String>()),
        "casefold" => Value::from(text.to_lowercase()),
        "expandtabs" => {
            let (size,): (Option<usize>,) = from_args(args)?;
            Value::from(expanded(text, size.unwrap_or(8))?)
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => found(text, method, args)?,
        "startswith" | "endswith" if 1 < args.len() => {
            let (what, from, to): (Value, Option<i64>, Option<i64>) = from_args(args)?;
            let (part, _) = part(text, from, to);
            let is = |it: &str| match method {
                "startswith" => part.starts_with(it),
                _ => part.ends_with(it),
            };
            match what.as_str() {
                Some(what) => Value::from(is(what)),
                None => Value::from(what.try_iter()?.any(|it| it.as_str().is_some_and(is))),
            }
        }
        "isdecimal" => Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit())),
        "isidentifier" => {
            let begins = text.starts_with(|c: char| c.is_alphabetic() || c == '_');
            Value::from(begins && text.chars().all(|c| c.is_alphanumeric() || c == '_'))
        }
        "istitle" => Value::from(is_title(text)),
        "isprintable" => Value::from(!text.contains(char::is_control)),
        _ => return Err(unknown()),
    })
}

fn three(before: &str, separator: &str, after: &str) -> Value {
    Value::from(Tuple::from([before, separator, after].map(Value::from)))
}

fn rsplit(text: &str, args: &[Value]) -> Answer {
    let (separator, most): (Option<Value>, Option<i64>) = from_args(args)?;
    let most = most.and_then(|it| usize::try_from(it).ok());
    let separator = separator.filter(|it| !it.is_none());
    let Some(separator) = separator else {
        return Ok(words(text, most).into_iter().rev().map(Value::from).collect());
    };
    let separator = separator.as_str().filter(|it| !it.is_empty());
    let separator = separator.ok_or_else(|| wrong("rsplit wants a text to split at"))?;
    let parts: Vec<_> = match most {
        Some(most) => text.rsplitn(most + 1, separator).collect(),
        None => text.rsplit(separator).collect(),
    };
    Ok(parts.into_iter().rev().map(Value::from).collect())
}

/// Separated by space, the last one first; what is more than so many is the last of them.
fn words(text: &str, most: Option<usize>) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_end();
    while !rest.trim_start().is_empty() {
        if most == Some(words.len()) {
            words.push(rest);
            break;
        }
        let at = rest.rfind(char::is_whitespace);
        let at = at.map_or(0, |at| at + rest[at..].chars().next().map_or(0, char::len_utf8));
        words.push(&rest[at..]);
        rest = rest[..at].trim_end();
    }
    words
}

/// No text is made as long as a template says.
const LONGEST: usize = 1_000_000;

pub(super) fn spaces(width: usize) -> Result<String, Error> {
    missing("", width).map(|width| " ".repeat(width))
}

fn missing(text: &str, width: usize) -> Result<usize, Error> {
    match width.saturating_sub(text.chars().count()) {
        missing if LONGEST < missing => Err(wrong(format!("a width of {width} is too large"))),
        missing => Ok(missing),
    }
}

pub(super) fn justified(text: &str, method: &str, args: &[Value]) -> Answer {
    let (width, fill): (usize, Option<&str>) = from_args(args)?;
    let missing = missing(text, width)?;
    let left = match method {
        "ljust" => 0,
        "rjust" => missing,
        // Python's own: the odd one goes left where the width is odd.
        _ => missing / 2 + (missing & width & 1),
    };
    let fill = fill.unwrap_or(" ");
    Ok(Value::from(format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left))))
}

fn swapped(c: char) -> Vec<char> {
    if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
}

fn expanded(text: &str, size: usize) -> Result<String, Error> {
    missing("", size)?;
    let mut written = String::new();
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' => {
                let width = if size == 0 { 0 } else { size - column % size };
                written.extend(std::iter::repeat_n(' ', width));
                column += width;
            }
            '\n' | '\r' => {
                written.push(c);
                column = 0;
            }
            _ => {
                written.push(c);
                column += 1;
            }
        }
    }
    Ok(written)
}

/// The part of a text between two places, counted in characters, and where it begins.
fn part(text: &str, from: Option<i64>, to: Option<i64>) -> (&str, usize) {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let place = |it: i64| usize::try_from(if it < 0 { it + length } else { it }).unwrap_or(0);
    let bytes = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
    let first = place(from.unwrap_or(0));
    let (start, end) = (bytes(first), bytes(place(to.unwrap_or(length))));
    (text.get(start..end).unwrap_or_default(), first)
}

fn found(text: &str, method: &str, args: &[Value]) -> Answer {
    let (what, from, to): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let (part, first) = part(text, from, to);
    let at = match method {
        "count" => return Ok(Value::from(part.matches(what).count())),
        "find" | "index" => part.find(what),
        _ => part.rfind(what),
    };
    match at.map(|at| first + part[..at].chars().count()) {
        Some(place) => Ok(Value::from(place)),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(wrong(format!("{what:?} is no part of {text:?}"))),
    }
}

fn is_title(text: &str) -> bool {
    let mut before = false;
    let mut any = false;
    for c in text.chars() {
        if (c.is_uppercase() && before) || (c.is_lowercase() && !before) {
            return false;
        }
        before = c.is_alphabetic();
        any |= before;
    }
    any
}

fn of_list(list: &Value, method: &str, args: &[Value]) -> Answer {
    match method {
        "index" => {
            let (wanted,): (&Value,) = from_args(args)?;
            let at = list.try_iter()?.position(|it| it == *wanted);
            at.map(Value::from).ok_or_else(|| wrong(format!("{wanted:?} is not in the list")))
        }
        "count" => {
            let (wanted,): (&Value,) = from_args(args)?;
            Ok(Value::from(list.try_iter()?.filter(|it| it == wanted).count()))
        }
        "copy" => Ok(list.clone()),
        _ => Err(unknown()),
    }
}
