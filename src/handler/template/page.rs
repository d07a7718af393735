//! A template and what there is become text. It looks at nothing but what `Root` and `Outside` hold.

use super::{function, outside::Outside, root::Root};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, syntax::SyntaxConfig};
use minijinja_contrib::pycompat::unknown_method_callback;
use std::{fmt, sync::Arc};

/// What a template is, and where those are that it includes.
pub(super) struct Page {
    name: String,
    environment: Environment<'static>,
    blanks: Blanks,
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
        environment.set_syntax(syntax.map_err(|error| Fault::of(&error, name))?);
        // It is configuration that is written, not HTML.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(|state, value, method, args| {
            // `labels['absent'].split(',')`: what is not there is an empty text, as in docker-pygen.
            let empty = Value::from("");
            let value = if value.is_undefined() { &empty } else { value };
            unknown_method_callback(state, value, method, args)
        });
        function::add(&mut environment, outside);
        let beside = outside.clone();
        environment.set_loader(move |name| beside.source(name));
        let added = environment.add_template_owned(name.to_owned(), text.to_owned());
        added.map_err(|error| Fault::of(&error, name))?;
        Ok(Self { name: name.to_owned(), environment, blanks })
    }

    /// # Errors
    /// It asks for what can't be.
    pub(super) fn render(&self, root: &Arc<Root>) -> Result<String, Fault> {
        let context = Value::from_dyn_object(Arc::clone(root));
        let template = self.environment.get_template(&self.name);
        let text = template.and_then(|it| it.render(context));
        let text = text.map_err(|error| Fault::of(&error, &self.name))?;
        Ok(match self.blanks {
            Blanks::Keep => ended(text),
            Blanks::Drop => without_blanks(&text),
        })
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
