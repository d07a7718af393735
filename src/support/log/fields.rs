//! Formats an event as one line for people: the message, then the fields that the message does not already contain.
//!
//! The message of an event with a `kind` contains everything, so no field is added. The message of an event with a
//! `reason` contains the reason, so that field is left out.

use std::{error::Error, fmt};
use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput},
    fmt::{
        FormatFields,
        format::{DefaultVisitor, Writer},
    },
};

/// An event with this field is printed as its message alone.
const KIND: &str = "kind";
/// This field alone is left out.
const REASON: &str = "reason";

#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldFormatter;

impl<'w> FormatFields<'w> for FieldFormatter {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut kind = KindVisitor(false);
        fields.record(&mut kind);
        let mut sentence =
            MessageVisitor { is_message_only: kind.0, visitor: DefaultVisitor::new(writer, true) };
        fields.record(&mut sentence);
        sentence.visitor.finish()
    }
}

struct KindVisitor(bool);

impl Visit for KindVisitor {
    fn record_debug(&mut self, field: &Field, _: &dyn fmt::Debug) {
        self.0 |= field.name() == KIND;
    }
}

struct MessageVisitor<'w> {
    is_message_only: bool,
    visitor: DefaultVisitor<'w>,
}

impl MessageVisitor<'_> {
    fn shows_field(&self, field: &Field) -> bool {
        field.name() == "message" || !(self.is_message_only || field.name() == REASON)
    }
}

impl Visit for MessageVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.shows_field(field) {
            self.visitor.record_str(field, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if self.shows_field(field) {
            self.visitor.record_error(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.shows_field(field) {
            self.visitor.record_debug(field, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FieldFormatter;
    use std::{
        io,
        sync::{Arc, Mutex},
    };
    use tracing::{error, info, subscriber::with_default, warn};
    use tracing_subscriber::fmt;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn field_stated_in_message_is_not_repeated() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let log =
            fmt().fmt_fields(FieldFormatter).with_writer(move || writer.clone()).with_ansi(false);
        with_default(log.without_time().with_target(false).finish(), || {
            info!(cause = "start web", routes = 1, us = 912, "told HAProxy");
            info!(cause = "start web", reason = "ports", "reloaded HAProxy: new public port 80");
            warn!(
                kind = "not_a_weight",
                container = "web",
                over = true,
                "container web: no weight"
            );
            warn!(kind = "port_taken", listener = None::<String>, "listener http :80: taken");
            error!(handler = "lb", event = "start", failures = 2_u64, "it ended with status 1");
            error!(error = &io::Error::other("no such thing") as &dyn std::error::Error, "not so");
            info!("stopped");
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let expected = " INFO told HAProxy cause=\"start web\" routes=1 us=912
 INFO reloaded HAProxy: new public port 80 cause=\"start web\"
 WARN container web: no weight
 WARN listener http :80: taken
ERROR it ended with status 1 handler=\"lb\" event=\"start\" failures=2
ERROR not so error=no such thing
 INFO stopped
";
        assert_eq!(text, expected);
    }
}
