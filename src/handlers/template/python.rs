//! Methods of Python's strings, lists and dicts, as Jinja2 templates call them.
//!
//! Pure. minijinja-contrib has most of them; here are the others.

use super::{
    function::invalid_operation,
    jinja::{check_filled_length, check_replaced_length, parse_arguments, reject_none},
    limit::check_text_length,
};
use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Tuple, ValueKind, from_args},
};
use minijinja_contrib::pycompat::unknown_method_callback;

type MethodResult = Result<Value, Error>;

/// Calls a method. An undefined value counts as an empty string, as in docker-pygen: `labels['absent'].split(',')`.
pub(crate) fn call_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> MethodResult {
    let empty = Value::from("");
    let value =
        if value.is_undefined() && !MUTATING_METHODS.contains(&method) { &empty } else { value };
    if let (Some(_), "format" | "join") = (value.as_str(), method) {
        args.iter().try_for_each(reject_none)?;
    }
    if let Some(text) = value.as_str() {
        check_result_length(text, method, args)?;
    }
    let by_place;
    let args = match method {
        "split" | "rsplit" => {
            let places = parse_arguments(args, ["sep", "maxsplit"])?;
            by_place =
                places.map(|value| if value.is_undefined() { Value::from(()) } else { value });
            &by_place
        }
        _ => args,
    };
    let own = match (value.as_str(), value.kind()) {
        (Some(text), _) => call_text_method(text, method, args),
        (None, ValueKind::Seq | ValueKind::Iterable) => call_list_method(value, method, args),
        (None, ValueKind::Map) if method == "copy" => Ok(value.clone()),
        _ => Err(unknown_method()),
    };
    match own {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => {
            let result = unknown_method_callback(state, value, method, args);
            result.map_err(|error| mutation_error(error, method))
        }
        own => own,
    }
}

/// # Errors
/// If the method could return a text that is too long.
fn check_result_length(text: &str, method: &str, args: &[Value]) -> Result<(), Error> {
    match (method, args) {
        ("format", args) => {
            let named = args.iter().filter(|value| value.is_kwargs());
            let named = named.filter_map(|value| value.try_iter().ok().map(|keys| (value, keys)));
            let named =
                named.flat_map(|(value, keys)| keys.filter_map(|key| value.get_item(&key).ok()));
            check_filled_length(text, '{', &args.iter().cloned().chain(named).collect::<Vec<_>>())
        }
        ("replace", [old, new, ..]) => check_replaced_length(
            text,
            old.as_str().unwrap_or_default(),
            new.as_str().unwrap_or_default(),
        ),
        ("join", [list]) => {
            let mut bytes = 0_usize;
            for value in list.try_iter().into_iter().flatten() {
                bytes = bytes.saturating_add(text.len() + value.as_str().map_or(0, str::len));
                check_text_length(bytes)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn unknown_method() -> Error {
    Error::from(ErrorKind::UnknownMethod)
}

/// Methods that would change the list or the dict itself.
const MUTATING_METHODS: &[&str] =
    &["append", "clear", "extend", "insert", "pop", "remove", "setdefault", "sort", "update"];

fn mutation_error(error: Error, method: &str) -> Error {
    if error.kind() != ErrorKind::UnknownMethod || !MUTATING_METHODS.contains(&method) {
        return error;
    }
    invalid_operation(format!(
        "unknown method {method}: lists and dicts cannot be changed; create a new one, as in {{% \
         set ns.all = ns.all + [x] %}} after {{% set ns = namespace(all=[]) %}}, or in dict(d, \
         key=value)"
    ))
}

fn call_text_method(text: &str, method: &str, args: &[Value]) -> MethodResult {
    Ok(match method {
        "rsplit" => rsplit(text, args)?,
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            let parts = text.split_once(separator);
            parts.map_or_else(
                || partition_tuple(text, "", ""),
                |(before, after)| partition_tuple(before, separator, after),
            )
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let parts = text.rsplit_once(separator);
            parts.map_or_else(
                || partition_tuple("", "", text),
                |(before, after)| partition_tuple(before, separator, after),
            )
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            let missing = padding_width(text, width)?;
            Value::from(format!("{sign}{}{digits}", "0".repeat(missing)))
        }
        "ljust" | "rjust" | "center" => justify_text(text, method, args)?,
        "swapcase" => Value::from(text.chars().flat_map(swap_case).collect::<String>()),
        "casefold" => Value::from(text.to_lowercase()),
        "expandtabs" => {
            let (size,): (Option<usize>,) = from_args(args)?;
            Value::from(expand_tabs(text, size.unwrap_or(8))?)
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => find_part(text, method, args)?,
        "startswith" | "endswith" if 1 < args.len() => {
            let (what, from, to): (Value, Option<i64>, Option<i64>) = from_args(args)?;
            let (part, _) = slice_chars(text, from, to);
            let is = |text: &str| match method {
                "startswith" => part.starts_with(text),
                _ => part.ends_with(text),
            };
            match what.as_str() {
                Some(what) => Value::from(is(what)),
                None => Value::from(what.try_iter()?.any(|value| value.as_str().is_some_and(is))),
            }
        }
        "isdecimal" => Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit())),
        "isidentifier" => {
            let begins = text.starts_with(|c: char| c.is_alphabetic() || c == '_');
            Value::from(begins && text.chars().all(|c| c.is_alphanumeric() || c == '_'))
        }
        "istitle" => Value::from(is_title(text)),
        "isprintable" => Value::from(!text.contains(char::is_control)),
        _ => return Err(unknown_method()),
    })
}

fn partition_tuple(before: &str, separator: &str, after: &str) -> Value {
    Value::from(Tuple::from([before, separator, after].map(Value::from)))
}

fn rsplit(text: &str, args: &[Value]) -> MethodResult {
    let (separator, most): (Option<Value>, Option<i64>) = from_args(args)?;
    let most = most.and_then(|n| usize::try_from(n).ok());
    let separator = separator.filter(|value| !value.is_none());
    let Some(separator) = separator else {
        return Ok(rsplit_words(text, most).into_iter().rev().map(Value::from).collect());
    };
    let separator = separator.as_str().filter(|text| !text.is_empty());
    let separator =
        separator.ok_or_else(|| invalid_operation("rsplit needs a text to split at"))?;
    let parts: Vec<_> = match most {
        Some(most) => text.rsplitn(most + 1, separator).collect(),
        None => text.rsplit(separator).collect(),
    };
    Ok(parts.into_iter().rev().map(Value::from).collect())
}

/// Splits at whitespace, the last word first. After `most` words the remaining text is the last item.
fn rsplit_words(text: &str, most: Option<usize>) -> Vec<&str> {
    let mut words = Vec::new();
    let mut remaining = text.trim_end();
    while !remaining.trim_start().is_empty() {
        if most == Some(words.len()) {
            words.push(remaining);
            break;
        }
        let at = remaining.rfind(char::is_whitespace);
        let at = at.map_or(0, |at| at + remaining[at..].chars().next().map_or(0, char::len_utf8));
        words.push(&remaining[at..]);
        remaining = remaining[..at].trim_end();
    }
    words
}

/// The greatest width that a template may request, in characters.
const MAX_WIDTH: usize = 1_000_000;

pub(crate) fn repeat_spaces(width: usize) -> Result<String, Error> {
    padding_width("", width).map(|width| " ".repeat(width))
}

fn padding_width(text: &str, width: usize) -> Result<usize, Error> {
    match width.saturating_sub(text.chars().count()) {
        missing if MAX_WIDTH < missing => {
            Err(invalid_operation(format!("a width of {width} is too large")))
        }
        missing => Ok(missing),
    }
}

pub(crate) fn justify_text(text: &str, method: &str, args: &[Value]) -> MethodResult {
    let (width, fill): (usize, Option<&str>) = from_args(args)?;
    let missing = padding_width(text, width)?;
    let left = match method {
        "ljust" => 0,
        "rjust" => missing,
        // As in Python: an odd space goes to the left if the width is odd.
        _ => missing / 2 + (missing & width & 1),
    };
    let fill = fill.unwrap_or(" ");
    Ok(Value::from(format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left))))
}

fn swap_case(c: char) -> Vec<char> {
    if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
}

fn expand_tabs(text: &str, size: usize) -> Result<String, Error> {
    padding_width("", size)?;
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

/// Returns the part of a text between two positions, counted in characters, and where it starts.
fn slice_chars(text: &str, from: Option<i64>, to: Option<i64>) -> (&str, usize) {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let position = |n: i64| usize::try_from(if n < 0 { n + length } else { n }).unwrap_or(0);
    let bytes = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
    let first = position(from.unwrap_or(0));
    let (start, end) = (bytes(first), bytes(position(to.unwrap_or(length))));
    (text.get(start..end).unwrap_or_default(), first)
}

fn find_part(text: &str, method: &str, args: &[Value]) -> MethodResult {
    let (what, from, to): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let (part, first) = slice_chars(text, from, to);
    let at = match method {
        "count" => return Ok(Value::from(part.matches(what).count())),
        "find" | "index" => part.find(what),
        _ => part.rfind(what),
    };
    match at.map(|at| first + part[..at].chars().count()) {
        Some(n) => Ok(Value::from(n)),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(invalid_operation(format!("{what:?} is not in {text:?}"))),
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

fn call_list_method(list: &Value, method: &str, args: &[Value]) -> MethodResult {
    match method {
        "index" => {
            let (searched,): (&Value,) = from_args(args)?;
            let at = list.try_iter()?.position(|value| value == *searched);
            at.map(Value::from)
                .ok_or_else(|| invalid_operation(format!("{searched:?} is not in the list")))
        }
        "count" => {
            let (searched,): (&Value,) = from_args(args)?;
            Ok(Value::from(list.try_iter()?.filter(|value| value == searched).count()))
        }
        "copy" => Ok(list.clone()),
        _ => Err(unknown_method()),
    }
}
