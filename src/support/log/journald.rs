//! Writes events to the journal of systemd in its native protocol: a priority, the line that people read, and each
//! field as `DOCKER_GLUE_<NAME>`.

use super::{fields::FieldFormatter, queue::Queue};
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
/// The greatest number of fields of an event that tracing allows. No event here has as many.
const MAX_FIELDS: usize = 32;

pub(crate) struct JournaldLayer(Queue<JournalEntry>);

impl JournaldLayer {
    /// Returns `None` if stderr is not the journal, or the journal's socket cannot be reached. Events that `filter`
    /// rejects are not formatted.
    pub(crate) fn for_stderr(program: &str, filter: &Targets) -> io::Result<Option<Self>> {
        let Some(Ok(layer)) = is_stderr_journal().then(tracing_journald::layer) else {
            return Ok(None);
        };
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
        let write = move |entry: JournalEntry| with_default(&socket, || entry.dispatch());
        Queue::start(write).map(|queue| Some(Self(queue)))
    }

    /// Returns the queue that entries are put into.
    pub(crate) fn queue(&self) -> Queue<JournalEntry> {
        self.0.clone()
    }
}

/// Returns whether stderr is the journal's socket, which systemd names as `device:inode` in `JOURNAL_STREAM`. A
/// program that a service starts inherits this variable but may have another stderr.
pub(crate) fn is_stderr_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let own = stderr().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    own.is_ok_and(|own| stream == format!("{}:{}", own.st_dev(), own.st_ino()))
}

impl<S: Subscriber> Layer<S> for JournaldLayer {
    /// `MESSAGE` is all that a reader of plain lines sees, so it includes the fields that the message does not
    /// contain.
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = FieldFormatter.format_fields(Writer::new(&mut line), event);
        let mut fields = FieldVisitor(Vec::new());
        event.record(&mut fields);
        self.0.push(JournalEntry { metadata: event.metadata(), line, fields: fields.0 });
    }
}

/// An owned copy of an event, for the thread that writes.
pub(crate) struct JournalEntry {
    metadata: &'static Metadata<'static>,
    line: String,
    /// All fields except the message.
    fields: Vec<(Field, String)>,
}

impl JournalEntry {
    /// Sends the entry to the default subscriber of this thread.
    fn dispatch(&self) {
        let names = self.metadata.fields();
        let Some(first) = names.field("message").or_else(|| names.iter().next()) else { return };
        let mut values: [(&Field, Option<&dyn Value>); MAX_FIELDS] = [(&first, None); MAX_FIELDS];
        if first.name() == "message" {
            values[0].1 = Some(&self.line);
        }
        for (slot, (field, value)) in values[1..].iter_mut().zip(&self.fields) {
            *slot = (field, Some(value));
        }
        Event::dispatch(self.metadata, &names.value_set(&values));
    }
}

/// Collects all fields except the message.
struct FieldVisitor(Vec<(Field, String)>);

impl FieldVisitor {
    fn add_field(&mut self, field: &Field, value: String) {
        if field.name() != "message" {
            self.0.push((field.clone(), value));
        }
    }
}

impl Visit for FieldVisitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_field(field, value.to_owned());
    }

    /// Numbers and booleans have the same text with `Debug` as with `Display`.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_field(field, format!("{value:?}"));
    }
}
