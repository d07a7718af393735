//! The journal of systemd, told in its own language: a priority, the line that people read, and each
//! field as `DOCKER_GLUE_<NAME>`.

use super::words::Words;
use std::{
    fmt,
    fs::File,
    io::stderr,
    os::{fd::AsFd, linux::fs::MetadataExt},
};
use tracing::{
    Event, Subscriber,
    field::{Field, Value, Visit},
};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::{
    Layer,
    fmt::{FormatFields, format::Writer},
    layer::Context,
    registry::LookupSpan,
};

const PREFIX: &str = "DOCKER_GLUE";
/// An event has never so many fields; tracing allows no more.
const MOST_FIELDS: usize = 32;

pub(super) struct Journal(tracing_journald::Layer);

impl Journal {
    /// `None` where stderr is something else, or the journal's socket cannot be reached.
    pub(super) fn of_stderr(program: &str) -> Option<Self> {
        let layer = is_stderr().then(tracing_journald::layer)?.ok()?;
        let priorities = PriorityMappings {
            info: Priority::Informational,
            debug: Priority::Debug,
            ..PriorityMappings::new()
        };
        let layer = layer.with_field_prefix(Some(PREFIX.to_owned()));
        let layer = layer.with_priority_mappings(priorities);
        Some(Self(layer.with_syslog_identifier(program.to_owned())))
    }
}

/// Whether stderr is the socket that systemd made it, as `device:inode`. A program that is started from a
/// service may have another.
pub(super) fn is_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let own = stderr().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    own.is_ok_and(|own| stream == format!("{}:{}", own.st_dev(), own.st_ino()))
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    /// `MESSAGE` is all that a reader of lines gets, so it has the fields that its sentence does not say.
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = Words.format_fields(Writer::new(&mut line), event);
        let mut fields = Fields(Vec::new());
        event.record(&mut fields);
        let Some(sentence) = event.metadata().fields().field("message") else {
            return self.0.on_event(event, context);
        };
        let mut values: [(&Field, Option<&dyn Value>); MOST_FIELDS] =
            [(&sentence, None); MOST_FIELDS];
        values[0].1 = Some(&line);
        for (place, (field, value)) in values[1..].iter_mut().zip(&fields.0) {
            *place = (field, Some(value.as_ref()));
        }
        let values = event.metadata().fields().value_set(&values);
        self.0.on_event(&Event::new(event.metadata(), &values), context);
    }
}

/// All but the sentence.
struct Fields(Vec<(Field, Box<dyn Value>)>);

impl Fields {
    fn add(&mut self, field: &Field, value: impl Value + 'static) {
        if field.name() != "message" {
            self.0.push((field.clone(), Box::new(value)));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    /// Numbers and truth read the same.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}
