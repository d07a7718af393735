//! Filters, tests and functions of Jinja2 that minijinja does not have, or that behave differently there.
//!
//! Pure. None is never converted to text, because the word `None` has no place in a configuration file.

#![allow(clippy::needless_pass_by_value, reason = "it is how minijinja hands arguments over")]

use super::{
    function::{invalid_operation, lookup_path},
    limit::{MAX_LIST_ITEMS, check_text_length},
    operator, python,
};
use minijinja::{
    Environment, Error, ErrorKind, State, Value, context, filters,
    formatting::{FormatStyle, format},
    tests,
    value::{Kwargs, Object, ObjectRepr, Rest, ValueKind, ValueOrKwargs, from_args},
};
use minijinja_contrib::{filters as contrib, globals};
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use textwrap::{WordSeparator, WordSplitter, WrapAlgorithm};

type FilterResult<T = Value> = Result<T, Error>;
type FilterArgs = Rest<ValueOrKwargs>;

pub(crate) fn add_filters(environment: &mut Environment<'static>) {
    let item = environment;
    for (name, filter, names) in keyword_filters() {
        item.add_filter(name, move |state: &mut State<'_, '_>, value: Value, given: FilterArgs| {
            filter.call(state, &[value, to_kwargs(given.into_values(), names)?.into()])
        });
    }
    for (name, filter, argument) in [
        ("batch", Value::from_function(filters::batch), "linecount"),
        ("slice", Value::from_function(filters::slice), "slices"),
    ] {
        item.add_filter(name, move |state: &mut State<'_, '_>, value: Value, given: FilterArgs| {
            let [count, fill] = parse_arguments(given.into_values(), [argument, "fill_with"])?;
            filter.call(state, &[value, count, fill])
        });
    }
    for (name, filter) in text_filters() {
        item.add_filter(name, move |state: &mut State<'_, '_>, value: Value, given: FilterArgs| {
            reject_none(&value)?;
            let args: Vec<_> = [value].into_iter().chain(given.into_values()).collect();
            filter.call(state, &args)
        });
    }
    item.add_filter(operator::PERCENT, format_or_modulo);
    item.add_filter(operator::PLUS, add_values);
    item.add_filter(operator::TILDE, |left: Value, right: Value| {
        reject_none(&left).and_then(|()| reject_none(&right))?;
        check_text_length(text_length(&left).saturating_add(text_length(&right)))?;
        Ok::<_, Error>(format!("{left}{right}"))
    });
    item.add_filter("center", |text: Value, width: Option<usize>| {
        python::justify_text(&text_of(&text)?, "center", &[Value::from(width.unwrap_or(80))])
    });
    item.add_filter("default", default);
    item.add_filter("d", default);
    item.add_filter("escape", escape);
    item.add_filter("e", escape);
    item.add_filter("forceescape", |text: Value| Ok::<_, Error>(escape_html(&text_of(&text)?)));
    item.add_filter("filesizeformat", filesizeformat);
    item.add_filter("float", |state: &mut State<'_, '_>, value: Value, given: FilterArgs| {
        let [or] = parse_arguments(given.into_values(), ["default"])?;
        let or = if or.is_undefined() { Value::from(0.0) } else { or };
        Ok::<_, Error>(
            filters::float(state, &value, Some(or.clone()), empty_kwargs()).unwrap_or(or),
        )
    });
    item.add_filter("format", |text: Value, given: FilterArgs| {
        let given = given.into_values();
        given.iter().try_for_each(reject_none)?;
        let text = text_of(&text)?;
        check_filled_length(&text, '%', &given)?;
        format(FormatStyle::Printf, &text, &given)
    });
    item.add_filter("indent", indent);
    item.add_filter("int", |state: &mut State<'_, '_>, value: Value, given: FilterArgs| {
        let [or, base] = parse_arguments(given.into_values(), ["default", "base"])?;
        let or = if or.is_undefined() { Value::from(0) } else { or };
        let base = if base.is_undefined() { None } else { Some(u32::try_from(base)?) };
        Ok::<_, Error>(
            filters::int(state, &value, Some(or.clone()), base, empty_kwargs()).unwrap_or(or),
        )
    });
    item.add_filter("join", join);
    item.add_filter("pprint", |value: Value| match format!("{value:?}") {
        line if line.len() <= 80 => line,
        _ => format!("{value:#?}"),
    });
    item.add_filter("replace", replace);
    item.add_filter("striptags", |text: Value| Ok::<_, Error>(contrib::striptags(text_of(&text)?)));
    item.add_filter("tojson", |value: Value, given: FilterArgs| {
        let [indent] = parse_arguments(given.into_values(), ["indent"])?;
        let indent = Some(indent).filter(|value| !value.is_undefined() && !value.is_none());
        Ok::<_, Error>(escape_non_ascii(
            &filters::tojson(&sort_keys(&value)?, indent, empty_kwargs())?.to_string(),
        ))
    });
    item.add_filter("urlencode", urlencode);
    item.add_filter("wordcount", |text: Value| {
        let text = text_of(&text)?;
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        Ok::<_, Error>(words.filter(|text| !text.is_empty()).count())
    });
    item.add_filter("wordwrap", wordwrap);
    item.add_test("callable", |value: Value| value.kind() == ValueKind::Plain);
    item.add_test("sequence", |value: Value| {
        value.kind() == ValueKind::String || tests::is_sequence(&value)
    });
    item.add_function("cycler", |items: Rest<Value>| match items.0.as_slice() {
        [] => Err(invalid_operation("cycler needs at least one argument")),
        _ => Ok(Value::from_object(Cycler { items: items.0, at: AtomicUsize::new(0) })),
    });
    item.add_function("joiner", globals::joiner);
}

/// Filters whose arguments may be positional in Jinja2, but must be named in minijinja.
fn keyword_filters() -> [(&'static str, Value, &'static [&'static str]); 7] {
    [
        ("dictsort", Value::from_function(filters::dictsort), &["case_sensitive", "by", "reverse"]),
        (
            "groupby",
            Value::from_function(filters::groupby),
            &["attribute", "default", "case_sensitive"],
        ),
        ("max", Value::from_function(filters::max), &["case_sensitive", "attribute"]),
        ("min", Value::from_function(filters::min), &["case_sensitive", "attribute"]),
        ("sort", Value::from_function(filters::sort), &["reverse", "case_sensitive", "attribute"]),
        (
            "truncate",
            Value::from_function(contrib::truncate),
            &["length", "killwords", "end", "leeway"],
        ),
        ("unique", Value::from_function(filters::unique), &["case_sensitive", "attribute"]),
    ]
}

/// Filters that would convert none to text. They reject it instead.
fn text_filters() -> [(&'static str, Value); 6] {
    [
        ("capitalize", Value::from_function(filters::capitalize)),
        ("lower", Value::from_function(filters::lower)),
        ("string", Value::from_function(filters::string)),
        ("title", Value::from_function(filters::title)),
        ("trim", Value::from_function(filters::trim)),
        ("upper", Value::from_function(filters::upper)),
    ]
}

/// None was about to be written into the file.
#[derive(Debug)]
pub(crate) struct NoneValueError;

impl fmt::Display for NoneValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("none cannot be written into a file")
    }
}

impl std::error::Error for NoneValueError {}

/// # Errors
/// If the value is none.
pub(crate) fn reject_none(value: &Value) -> Result<(), Error> {
    if value.is_none() {
        Err(invalid_operation(NoneValueError.to_string()).with_source(NoneValueError))
    } else {
        Ok(())
    }
}

fn text_of(value: &Value) -> FilterResult<String> {
    reject_none(value)?;
    Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn empty_kwargs() -> Kwargs {
    std::iter::empty::<(String, Value)>().collect()
}

/// Converts positional and named arguments to named ones.
fn to_kwargs(mut given: Vec<Value>, names: &[&str]) -> FilterResult<Kwargs> {
    let kwargs = given.pop_if(|value| value.is_kwargs()).map(Kwargs::try_from).transpose()?;
    if names.len() < given.len() {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut all: Vec<_> = names.iter().map(|text| (*text).to_owned()).zip(given).collect();
    if let Some(kwargs) = kwargs {
        for name in kwargs.args() {
            all.push((name.to_owned(), kwargs.get(name)?));
        }
    }
    Ok(all.into_iter().collect())
}

/// Returns the arguments with these names; an argument that is not given is undefined.
pub(crate) fn parse_arguments<const N: usize>(
    given: impl Into<Vec<Value>>,
    names: [&str; N],
) -> FilterResult<[Value; N]> {
    let kwargs = to_kwargs(given.into(), &names)?;
    let mut values = [const { Value::UNDEFINED }; N];
    for (value, name) in values.iter_mut().zip(names) {
        if kwargs.has(name) {
            *value = kwargs.get(name)?;
        }
    }
    kwargs.assert_all_used()?;
    Ok(values)
}

/// Adds numbers, or concatenates strings or lists.
fn add_values(state: &mut State<'_, '_>, left: Value, right: Value) -> FilterResult {
    let is_whole = |value: &Value| value.kind() == ValueKind::Number && value.is_integer();
    if is_whole(&left)
        && is_whole(&right)
        && let (Some(left), Some(right)) = (left.as_i64(), right.as_i64())
        && let Some(sum) = left.checked_add(right)
    {
        return Ok(Value::from(sum));
    }
    check_text_length(text_length(&left).saturating_add(text_length(&right)))?;
    let items = |value: &Value| if value.as_str().is_some() { 0 } else { value.len().unwrap_or(0) };
    if MAX_LIST_ITEMS < items(&left).saturating_add(items(&right)) {
        return Err(invalid_operation(format!(
            "a list of more than {MAX_LIST_ITEMS} items is too long"
        )));
    }
    let sum = state.env().compile_expression("a + b")?;
    sum.eval(context! { a => left, b => right })
}

/// Returns the length of a string in bytes; 0 for other values, whose text is short.
fn text_length(value: &Value) -> usize {
    value.as_str().map_or(0, str::len)
}

/// # Errors
/// If the text could become too long when each sign is replaced by an argument.
pub(crate) fn check_filled_length(text: &str, sign: char, args: &[Value]) -> Result<(), Error> {
    let longest = args.iter().map(text_length).max().unwrap_or(0);
    let places = text.matches(sign).count();
    check_text_length(places.saturating_mul(longest).saturating_add(text.len()))
}

/// # Errors
/// If the text would become too long when `old` is replaced by `new`.
pub(crate) fn check_replaced_length(text: &str, old: &str, new: &str) -> Result<(), Error> {
    let places = if old.is_empty() { text.len() + 1 } else { text.matches(old).count() };
    check_text_length(places.saturating_mul(new.len()).saturating_add(text.len()))
}

/// Implements `%`: formats a string, or returns the remainder of a number.
fn format_or_modulo(state: &mut State<'_, '_>, left: Value, right: Value) -> FilterResult {
    let Some(text) = left.as_str() else {
        let division = state.env().compile_expression("a % b")?;
        return division.eval(context! { a => left, b => right });
    };
    let args: Vec<_> = if right.is_tuple() { right.try_iter()?.collect() } else { vec![right] };
    args.iter().try_for_each(reject_none)?;
    check_filled_length(text, '%', &args)?;
    format(FormatStyle::Printf, text, &args).map(Value::from)
}

fn default(value: Value, given: FilterArgs) -> FilterResult {
    let [default, also_false] = parse_arguments(given.into_values(), ["default_value", "boolean"])?;
    let default = if default.is_undefined() { Value::from("") } else { default };
    let is_missing = value.is_undefined() || (also_false.is_true() && !value.is_true());
    Ok(if is_missing { default } else { value })
}

fn escape(value: Value) -> FilterResult {
    if value.is_safe() { Ok(value) } else { text_of(&value).map(|text| escape_html(&text)) }
}

fn escape_html(text: &str) -> Value {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '\'' => safe.push_str("&#39;"),
            '"' => safe.push_str("&#34;"),
            _ => safe.push(c),
        }
    }
    Value::from_safe_string(safe)
}

fn filesizeformat(value: Value, given: FilterArgs) -> FilterResult<String> {
    let [binary] = parse_arguments(given.into_values(), ["binary"])?;
    let bytes = match value.as_str() {
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| invalid_operation(format!("{text:?} is not a number")))?,
        None => f64::try_from(value)?,
    };
    Ok(contrib::filesizeformat(bytes, Some(binary.is_true())))
}

/// Indents by a number of spaces, or by a string.
fn indent(text: Value, given: FilterArgs) -> FilterResult<String> {
    let [width, first, blank] = parse_arguments(given.into_values(), ["width", "first", "blank"])?;
    let space = match width.as_str() {
        Some(text) => text.to_owned(),
        None if width.is_undefined() => " ".repeat(4),
        None => python::repeat_spaces(usize::try_from(width)?)?,
    };
    let text = text_of(&text)?;
    check_text_length(
        (text.matches('\n').count() + 1).saturating_mul(space.len()).saturating_add(text.len()),
    )?;
    let mut written = String::new();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let is_indented = if number == 0 { first.is_true() } else { true };
        let is_blank = number != 0 && line.trim_end_matches(['\n', '\r']).is_empty();
        if is_indented && (!is_blank || blank.is_true()) {
            written.push_str(&space);
        }
        written.push_str(line);
    }
    Ok(written)
}

fn join(list: Value, given: FilterArgs) -> FilterResult<String> {
    let [between, attribute] = parse_arguments(given.into_values(), ["d", "attribute"])?;
    let between = if between.is_undefined() { String::new() } else { text_of(&between)? };
    let mut written = String::new();
    for (number, value) in list.try_iter()?.enumerate() {
        let value = match attribute.as_str() {
            Some(path) => lookup_path(&value, path)?,
            None => value,
        };
        reject_none(&value)?;
        if number != 0 {
            written.push_str(&between);
        }
        written.push_str(&text_of(&value)?);
        check_text_length(written.len())?;
    }
    Ok(written)
}

fn replace(text: Value, given: FilterArgs) -> FilterResult<String> {
    let [old, new, most] = parse_arguments(given.into_values(), ["old", "new", "count"])?;
    let (text, old, new) = (text_of(&text)?, text_of(&old)?, text_of(&new)?);
    check_replaced_length(&text, &old, &new)?;
    match most.as_usize() {
        Some(most) => Ok(text.replacen(&old, &new, most)),
        None => Ok(text.replace(&old, &new)),
    }
}

/// Sorts the keys of each dict in the value.
fn sort_keys(value: &Value) -> FilterResult {
    match value.kind() {
        ValueKind::Map => {
            let pairs = value.try_iter()?.map(|key| {
                let value = sort_keys(&value.get_item(&key)?)?;
                Ok::<_, Error>((key, value))
            });
            Ok(Value::from_pairs(pairs.collect::<FilterResult<BTreeMap<_, _>>>()?))
        }
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()?
            .map(|value| sort_keys(&value))
            .collect::<FilterResult<Vec<_>>>()
            .map(Value::from),
        _ => Ok(value.clone()),
    }
}

fn escape_non_ascii(json: &str) -> String {
    let mut written = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            written.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(written, "\\u{unit:04x}");
            }
        }
    }
    written
}

/// Encodes a string as part of a path, and a dict or a list of pairs as a query.
fn urlencode(value: Value) -> FilterResult<String> {
    reject_none(&value)?;
    let query = |value: &Value| {
        let text = filters::urlencode(&Value::from(text_of(value)?))?;
        Ok::<_, Error>(text.replace('/', "%2F").replace("%20", "+"))
    };
    let pair =
        |key: &Value, value: &Value| Ok::<_, Error>(format!("{}={}", query(key)?, query(value)?));
    let pairs = match value.kind() {
        ValueKind::Map => {
            let pairs = value.try_iter()?.map(|key| pair(&key, &value.get_item(&key)?));
            pairs.collect::<FilterResult<Vec<_>>>()?
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let pairs = value.try_iter()?;
            let pairs =
                pairs.map(|value| pair(&value.get_item_by_index(0)?, &value.get_item_by_index(1)?));
            pairs.collect::<FilterResult<Vec<_>>>()?
        }
        _ => return filters::urlencode(&value),
    };
    Ok(pairs.join("&"))
}

/// Jinja2's cycler: returns its items one after the other, and starts again after the last.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

impl Cycler {
    fn current(&self) -> Value {
        self.items[self.at.load(Relaxed) % self.items.len()].clone()
    }
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        (name == "current").then(|| self.current())
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> FilterResult {
        let () = from_args(args)?;
        match method {
            "next" => {
                let now = self.current();
                self.at.fetch_add(1, Relaxed);
                Ok(now)
            }
            "reset" => {
                self.at.store(0, Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

fn wordwrap(text: Value, given: FilterArgs) -> FilterResult<String> {
    let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
    let [width, long, between, hyphens] = parse_arguments(given.into_values(), names)?;
    let is_on = |value: &Value| value.is_undefined() || value.is_true();
    let width = if width.is_undefined() { 79 } else { usize::try_from(width)? };
    let between = if between.is_undefined() { "\n".to_owned() } else { text_of(&between)? };
    let splitter =
        if is_on(&hyphens) { WordSplitter::HyphenSplitter } else { WordSplitter::NoHyphenation };
    let options = textwrap::Options::new(width)
        .break_words(is_on(&long))
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(splitter)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    let text = text_of(&text)?;
    let lines: Vec<_> = text.lines().flat_map(|line| textwrap::wrap(line, &options)).collect();
    check_text_length(lines.len().saturating_mul(between.len()).saturating_add(text.len()))?;
    Ok(lines.join(&between))
}
