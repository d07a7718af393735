//! A template and what there is become text. It looks at nothing but what `Root` and `Outside` hold.

use super::{
    function,
    jinja::{self, IsNone},
    limit::{Budget, Limits, MOST_TOKENS},
    operator,
    outside::Outside,
    python,
    root::Root,
};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, escape_formatter,
    syntax::SyntaxConfig,
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// What a template is, and where those are that it includes.
pub(super) struct Page {
    name: String,
    environment: Environment<'static>,
    blanks: Blanks,
    /// Something undefined left nothing behind.
    undefined: Arc<AtomicBool>,
    budget: Arc<Budget>,
}

/// Lines that have nothing on them but space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blanks {
    Drop,
    Keep,
}

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Of the template, or of one that it includes.
    pub name: String,
    pub line: Option<usize>,
    pub text: String,
}

impl Page {
    /// # Errors
    /// It is no template.
    pub(super) fn new(
        name: &str,
        text: &str,
        blanks: Blanks,
        outside: &Outside,
    ) -> Result<Self, Fault> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let syntax = syntax.map_err(|error| Fault::of(&error, name))?;
        environment.set_syntax(syntax.clone());
        // It is configuration that is written, not HTML.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // What is undefined is named by its expression.
        environment.set_debug(true);
        let undefined = Arc::new(AtomicBool::new(false));
        environment.set_unknown_method_callback(python::method);
        jinja::add(&mut environment);
        function::add(&mut environment, outside);
        let (beside, of_included) = (outside.clone(), syntax.clone());
        environment.set_loader(move |name| {
            let Some(text) = beside.source(name)? else { return Ok(None) };
            check_tags(name, &text).map_err(|fault| function::wrong(fault.to_string()))?;
            Ok(Some(as_read(name, &text, &of_included)))
        });
        check_tags(name, text)?;
        let text = as_read(name, text, &syntax);
        let added = environment.add_template_owned(name.to_owned(), text);
        added.map_err(|error| Fault::of(&error, name))?;
        let budget = Arc::new(Budget::new(Limits::default()));
        let page = Self { name: name.to_owned(), environment, blanks, undefined, budget };
        Ok(page.within(Limits::default()))
    }

    /// Rendering takes no more than this.
    pub(super) fn within(mut self, limits: Limits) -> Self {
        self.budget = Arc::new(Budget::new(limits));
        self.environment.set_fuel(Some(limits.steps));
        let (saw, budget) = (Arc::clone(&self.undefined), Arc::clone(&self.budget));
        self.environment.set_formatter(move |out, state, value| {
            jinja::some(value)?;
            if value.is_undefined() {
                saw.store(true, Relaxed);
            }
            budget.print(value.as_str().map_or(1, str::len))?;
            escape_formatter(out, state, value)
        });
        self
    }

    /// # Errors
    /// It asks for what can't be.
    pub(super) fn render(&self, root: &Arc<Root>) -> Result<String, Fault> {
        let text = self.rendered(&self.environment, root)?;
        Ok(match self.blanks {
            Blanks::Keep => ended(text),
            Blanks::Drop => without_blanks(&text),
        })
    }

    /// Whether something was undefined, and left nothing in the text that was rendered.
    pub(super) fn has_undefined(&self) -> bool {
        self.undefined.load(Relaxed)
    }

    /// What it was.
    pub(super) fn undefined(&self, root: &Arc<Root>) -> Option<Fault> {
        let mut environment = self.environment.clone();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        self.rendered(&environment, root).err()
    }

    fn rendered(
        &self,
        environment: &Environment<'static>,
        root: &Arc<Root>,
    ) -> Result<String, Fault> {
        let context = Value::from_dyn_object(Arc::clone(root));
        self.budget.begin();
        let mut text = self.budget.writer();
        let template = environment.get_template(&self.name);
        let rendered = template.and_then(|it| it.render_captured_to(context, &mut text).map(drop));
        rendered.map_err(|error| self.fault(&error))?;
        // Of texts, each written whole.
        Ok(String::from_utf8_lossy(&text.text).into_owned())
    }

    fn fault(&self, error: &Error) -> Fault {
        let fault = Fault::of(error, &self.name);
        let limit = causes(error).find_map(|error| self.budget.told(error));
        match limit {
            Some(text) => Fault { text, ..fault },
            None => fault,
        }
    }
}

/// The error, and those of minijinja's that it comes of.
fn causes(error: &Error) -> impl Iterator<Item = &Error> {
    let first: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let all = std::iter::successors(first, |error| error.source());
    all.filter_map(|error| error.downcast_ref::<Error>())
}

/// # Errors
/// A tag is longer than what can be read.
fn check_tags(name: &str, text: &str) -> Result<(), Fault> {
    let Some(line) = operator::find_long_tag(text, MOST_TOKENS) else { return Ok(()) };
    let text = format!("a tag has more than {MOST_TOKENS} names, operators and brackets");
    Err(Fault { name: name.to_owned(), line: Some(line), text })
}

/// With LF alone at line ends, as Jinja2 reads it. What is wrong with it is told of the text that its author knows.
fn as_read(name: &str, text: &str, syntax: &SyntaxConfig) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let rewritten = operator::rewritten(&text);
    let mut environment = Environment::empty();
    environment.set_syntax(syntax.clone());
    match environment.template_from_named_str(name, &rewritten).map(drop) {
        Ok(()) => rewritten,
        Err(_) => text,
    }
}

/// Jinja drops a template's last line end; a file has one.
fn ended(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn without_blanks(text: &str) -> String {
    let mut kept = String::with_capacity(text.len() + 1);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

impl Fault {
    /// The innermost is what is wrong: an include is to blame for nothing.
    fn of(error: &Error, name: &str) -> Self {
        let mut innermost = error;
        let mut source = std::error::Error::source(error);
        while let Some(it) = source {
            if let Some(it) = it.downcast_ref::<Error>() {
                innermost = it;
            }
            source = it.source();
        }
        let placed = if innermost.line().is_some() { innermost } else { error };
        if source_is_none(error) {
            let text = none_told(placed);
            return Self {
                name: placed.name().unwrap_or(name).to_owned(),
                line: placed.line(),
                text,
            };
        }
        let text = match (innermost.kind(), innermost.detail()) {
            (ErrorKind::SyntaxError | ErrorKind::InvalidOperation, Some(detail)) => {
                detail.to_owned()
            }
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        Self { name: placed.name().unwrap_or(name).to_owned(), line: placed.line(), text }
    }
}

fn source_is_none(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(it) = source {
        if it.is::<IsNone>() {
            return true;
        }
        source = it.source();
    }
    false
}

/// With the expression, and a way out.
fn none_told(error: &Error) -> String {
    let place = error.range().map(|range| range.start);
    let found = error.template_source().zip(place);
    let expression = found.and_then(|(text, place)| operator::expression_at(text, place));
    let expression = expression.map_or_else(|| "a value".to_owned(), |it| format!("`{it}`"));
    format!(
        "{expression} is none, or made of it, and none is not written into a file; \
         give it a value, as in x|default('-', true), or leave it out with an if"
    )
}

/// `web.tmpl:3: …`
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.text)
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({})", self.name)
    }
}
