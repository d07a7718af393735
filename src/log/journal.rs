//! The journal of systemd, told in its own language: a priority, the line that people read, and each
//! field as `DOCKER_GLUE_<NAME>`.

use super::{queue::Queue, words::Words};
use std::{
    fmt,
    fs::File,
    io::{self, stderr},
    os::{fd::AsFd, linux::fs::MetadataExt},
};
use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    dispatcher::with_default,
    field::{Field, Value, Visit},
};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{FormatFields, format::Writer},
    layer::{Context, SubscriberExt},
};

const PREFIX: &str = "DOCKER_GLUE";
/// An event has never so many fields; tracing allows no more.
const MOST_FIELDS: usize = 32;

pub(super) struct Journal(Queue<Entry>);

impl Journal {
    /// `None` where stderr is something else, or the journal's socket cannot be reached. What `filter` keeps out is
    /// not even looked at.
    pub(super) fn of_stderr(program: &str, filter: &Targets) -> io::Result<Option<Self>> {
        let Some(Ok(layer)) = is_stderr().then(tracing_journald::layer) else { return Ok(None) };
        let priorities = PriorityMappings {
            info: Priority::Informational,
            debug: Priority::Debug,
            ..PriorityMappings::new()
        };
        let layer = layer.with_field_prefix(Some(PREFIX.to_owned()));
        let layer = layer.with_priority_mappings(priorities);
        let layer = layer.with_syslog_identifier(program.to_owned());
        let socket = tracing_subscriber::registry().with(filter.clone()).with(layer);
        let socket = Dispatch::new(socket);
        let write = move |entry: Entry| with_default(&socket, || entry.dispatch());
        Queue::start(write).map(|queue| Some(Self(queue)))
    }

    /// Where entries are put.
    pub(super) fn queue(&self) -> Queue<Entry> {
        self.0.clone()
    }
}

/// Whether stderr is the socket that systemd made it, as `device:inode`. A program that is started from a
/// service may have another.
pub(super) fn is_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let own = stderr().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    own.is_ok_and(|own| stream == format!("{}:{}", own.st_dev(), own.st_ino()))
}

impl<S: Subscriber> Layer<S> for Journal {
    /// `MESSAGE` is all that a reader of lines gets, so it has the fields that its sentence does not say.
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = Words.format_fields(Writer::new(&mut line), event);
        let mut fields = Fields(Vec::new());
        event.record(&mut fields);
        self.0.put(Entry { metadata: event.metadata(), line, fields: fields.0 });
    }
}

/// An event that outlives its moment.
pub(super) struct Entry {
    metadata: &'static Metadata<'static>,
    line: String,
    /// All but the sentence.
    fields: Vec<(Field, String)>,
}

impl Entry {
    /// Tells it to the subscriber of this thread.
    fn dispatch(&self) {
        let names = self.metadata.fields();
        let Some(first) = names.field("message").or_else(|| names.iter().next()) else { return };
        let mut values: [(&Field, Option<&dyn Value>); MOST_FIELDS] = [(&first, None); MOST_FIELDS];
        if first.name() == "message" {
            values[0].1 = Some(&self.line);
        }
        for (place, (field, value)) in values[1..].iter_mut().zip(&self.fields) {
            *place = (field, Some(value));
        }
        Event::dispatch(self.metadata, &names.value_set(&values));
    }
}

/// All but the sentence.
struct Fields(Vec<(Field, String)>);

impl Fields {
    fn add(&mut self, field: &Field, value: String) {
        if field.name() != "message" {
            self.0.push((field.clone(), value));
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
