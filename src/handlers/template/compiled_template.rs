//! A template and what there is become text. It looks at nothing but what `TemplateContext` and `TemplateEnv` hold.

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

/// What a template is, and where those are that it includes.
pub(crate) struct CompiledTemplate {
    name: String,
    environment: Environment<'static>,
    blanks: BlankLines,
    /// Something undefined left nothing behind.
    has_undefined: Arc<AtomicBool>,
    budget: Arc<RenderBudget>,
}

/// Lines that have nothing on them but space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlankLines {
    Drop,
    Keep,
}

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderError {
    /// Of the template, or of one that it includes.
    pub name: String,
    pub line: Option<usize>,
    pub text: String,
}

impl CompiledTemplate {
    /// # Errors
    /// It is no template.
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
        // It is configuration that is written, not HTML.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // What is undefined is named by its expression.
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

    /// Rendering takes no more than this.
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
    /// It asks for what can't be.
    pub(crate) fn render_text(&self, root: &Arc<TemplateContext>) -> Result<String, RenderError> {
        let text = self.render_with(&self.environment, root)?;
        Ok(match self.blanks {
            BlankLines::Keep => with_final_newline(text),
            BlankLines::Drop => without_blank_lines(&text),
        })
    }

    /// Whether something was undefined, and left nothing in the text that was rendered.
    pub(crate) fn has_undefined(&self) -> bool {
        self.has_undefined.load(Relaxed)
    }

    /// What it was.
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
        // Of texts, each written whole.
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

/// The error, and those of minijinja's that it comes of.
fn minijinja_causes(error: &Error) -> impl Iterator<Item = &Error> {
    let first: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let all = std::iter::successors(first, |error| error.source());
    all.filter_map(|error| error.downcast_ref::<Error>())
}

/// # Errors
/// A tag is longer than what can be read.
fn check_tags(name: &str, text: &str) -> Result<(), RenderError> {
    let Some(line) = operator::find_long_tag(text, MOST_TOKENS) else { return Ok(()) };
    let text = format!("a tag has more than {MOST_TOKENS} names, operators and brackets");
    Err(RenderError { name: name.to_owned(), line: Some(line), text })
}

/// With LF alone at line ends, as Jinja2 reads it. What is wrong with it is told of the text that its author knows.
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

/// Jinja drops a template's last line end; a file has one.
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
    /// The innermost is what is wrong: an include is to blame for nothing.
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

/// With the expression, and a way out.
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

/// `web.tmpl:3: …`
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
