//! A compiled template, which is rendered to text. It only accesses what `TemplateContext` and `TemplateEnv` contain.

use super::{
    context::TemplateContext,
    environment::TemplateEnv,
    function,
    jinja::{self, NoneValueError},
    limit::{MOST_TOKENS, RenderBudget, RenderLimits},
    operator, python,
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

/// A template, with the environment from which it includes others.
pub(crate) struct CompiledTemplate {
    name: String,
    environment: Environment<'static>,
    blanks: BlankLines,
    /// Whether an undefined value was rendered as empty text.
    has_undefined: Arc<AtomicBool>,
    budget: Arc<RenderBudget>,
}

/// Whether lines with nothing but spaces are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlankLines {
    Drop,
    Keep,
}

/// An error in a template, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderError {
    /// The name of the template, or of one that it includes.
    pub name: String,
    pub line: Option<usize>,
    pub text: String,
}

impl CompiledTemplate {
    /// # Errors
    /// If the template is not valid.
    pub(crate) fn new(
        name: &str,
        text: &str,
        blanks: BlankLines,
        template_env: &TemplateEnv,
    ) -> Result<Self, RenderError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let syntax = syntax.map_err(|error| RenderError::from_minijinja(&error, name))?;
        environment.set_syntax(syntax.clone());
        // The output is a configuration file, not HTML.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // With this, an error names the undefined expression.
        environment.set_debug(true);
        let undefined = Arc::new(AtomicBool::new(false));
        environment.set_unknown_method_callback(python::call_method);
        jinja::add_filters(&mut environment);
        function::add_functions(&mut environment, template_env);
        let (include_env, of_included) = (template_env.clone(), syntax.clone());
        environment.set_loader(move |name| {
            let Some(text) = include_env.read_include(name)? else { return Ok(None) };
            check_tags(name, &text)
                .map_err(|fault| function::invalid_operation(fault.to_string()))?;
            Ok(Some(preprocess_source(name, &text, &of_included)))
        });
        check_tags(name, text)?;
        let text = preprocess_source(name, text, &syntax);
        let added = environment.add_template_owned(name.to_owned(), text);
        added.map_err(|error| RenderError::from_minijinja(&error, name))?;
        let budget = Arc::new(RenderBudget::new(RenderLimits::default()));
        let page =
            Self { name: name.to_owned(), environment, blanks, has_undefined: undefined, budget };
        Ok(page.with_limits(RenderLimits::default()))
    }

    /// Sets the limits of rendering.
    pub(crate) fn with_limits(mut self, limits: RenderLimits) -> Self {
        self.budget = Arc::new(RenderBudget::new(limits));
        self.environment.set_fuel(Some(limits.steps));
        let (has_undefined, budget) = (Arc::clone(&self.has_undefined), Arc::clone(&self.budget));
        self.environment.set_formatter(move |out, state, value| {
            jinja::reject_none(value)?;
            if value.is_undefined() {
                has_undefined.store(true, Relaxed);
            }
            budget.charge_output(value.as_str().map_or(1, str::len))?;
            escape_formatter(out, state, value)
        });
        self
    }

    /// # Errors
    /// If the template fails at run time, or exceeds a limit.
    pub(crate) fn render_text(&self, root: &Arc<TemplateContext>) -> Result<String, RenderError> {
        let text = self.render_with(&self.environment, root)?;
        Ok(match self.blanks {
            BlankLines::Keep => with_final_newline(text),
            BlankLines::Drop => without_blank_lines(&text),
        })
    }

    /// Whether an undefined value was rendered as empty text.
    pub(crate) fn has_undefined(&self) -> bool {
        self.has_undefined.load(Relaxed)
    }

    /// Returns an error that names the first undefined value.
    pub(crate) fn find_undefined(&self, root: &Arc<TemplateContext>) -> Option<RenderError> {
        let mut environment = self.environment.clone();
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        self.render_with(&environment, root).err()
    }

    fn render_with(
        &self,
        environment: &Environment<'static>,
        root: &Arc<TemplateContext>,
    ) -> Result<String, RenderError> {
        let context = Value::from_dyn_object(Arc::clone(root));
        self.budget.reset();
        let mut text = self.budget.new_writer();
        let template = environment.get_template(&self.name);
        let rendered =
            template.and_then(|template| template.render_captured_to(context, &mut text).map(drop));
        rendered.map_err(|error| self.to_render_error(&error))?;
        // The output consists of strings that are each written whole.
        Ok(String::from_utf8_lossy(&text.text).into_owned())
    }

    fn to_render_error(&self, error: &Error) -> RenderError {
        let fault = RenderError::from_minijinja(error, &self.name);
        let limit = minijinja_causes(error).find_map(|error| self.budget.limit_message(error));
        match limit {
            Some(text) => RenderError { text, ..fault },
            None => fault,
        }
    }
}

/// Returns the error and its causes that are errors of minijinja.
fn minijinja_causes(error: &Error) -> impl Iterator<Item = &Error> {
    let first: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let all = std::iter::successors(first, |error| error.source());
    all.filter_map(|error| error.downcast_ref::<Error>())
}

/// # Errors
/// If a tag is longer than minijinja can parse.
fn check_tags(name: &str, text: &str) -> Result<(), RenderError> {
    let Some(line) = operator::find_long_tag(text, MOST_TOKENS) else { return Ok(()) };
    let text = format!("a tag has more than {MOST_TOKENS} names, operators and brackets");
    Err(RenderError { name: name.to_owned(), line: Some(line), text })
}

/// Prepares the source: LF line ends, as in Jinja2, and rewritten operators. If the rewritten source is not valid,
/// the original is returned, so that an error refers to the text that the author knows.
fn preprocess_source(name: &str, text: &str, syntax: &SyntaxConfig) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let rewritten = operator::rewrite_operators(&text);
    let mut environment = Environment::empty();
    environment.set_syntax(syntax.clone());
    match environment.template_from_named_str(name, &rewritten).map(drop) {
        Ok(()) => rewritten,
        Err(_) => text,
    }
}

/// Jinja removes the last line end of a template, but a file should end with one.
fn with_final_newline(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn without_blank_lines(text: &str) -> String {
    let mut kept = String::with_capacity(text.len() + 1);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

impl RenderError {
    /// The innermost error is the actual cause; the errors around it only say which template included which.
    fn from_minijinja(error: &Error, name: &str) -> Self {
        let mut innermost = error;
        let mut source = std::error::Error::source(error);
        while let Some(item) = source {
            if let Some(error) = item.downcast_ref::<Error>() {
                innermost = error;
            }
            source = item.source();
        }
        let located = if innermost.line().is_some() { innermost } else { error };
        if is_caused_by_none(error) {
            let text = none_message(located);
            return Self {
                name: located.name().unwrap_or(name).to_owned(),
                line: located.line(),
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
        Self { name: located.name().unwrap_or(name).to_owned(), line: located.line(), text }
    }
}

fn is_caused_by_none(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(item) = source {
        if item.is::<NoneValueError>() {
            return true;
        }
        source = item.source();
    }
    false
}

/// Returns a message with the expression and a suggestion.
fn none_message(error: &Error) -> String {
    let offset = error.range().map(|range| range.start);
    let found = error.template_source().zip(offset);
    let expression = found.and_then(|(text, offset)| operator::expression_at(text, offset));
    let expression = expression.map_or_else(|| "a value".to_owned(), |text| format!("`{text}`"));
    format!(
        "{expression} is none or contains none, which cannot be written into a file; set a \
         default, as in x|default('-', true), or skip it with an if"
    )
}

/// Prints for example `web.tmpl:3: …`.
impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.text)
    }
}

impl fmt::Debug for CompiledTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Page({})", self.name)
    }
}
