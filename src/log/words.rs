//! An event as a line for people: its sentence, and behind it the fields that the sentence does not say.
//!
//! An event with a `kind` says all of itself in its sentence; so does one with a `reason` say that.

use std::{error::Error, fmt};
use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput},
    fmt::{
        FormatFields,
        format::{DefaultVisitor, Writer},
    },
};

/// Everything but the sentence is for programs.
const KIND: &str = "kind";
/// This one alone is.
const REASON: &str = "reason";

#[derive(Debug, Clone, Copy)]
pub(super) struct Words;

impl<'w> FormatFields<'w> for Words {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut kind = HasKind(false);
        fields.record(&mut kind);
        let mut sentence = Sentence { alone: kind.0, words: DefaultVisitor::new(writer, true) };
        fields.record(&mut sentence);
        sentence.words.finish()
    }
}

struct HasKind(bool);

impl Visit for HasKind {
    fn record_debug(&mut self, field: &Field, _: &dyn fmt::Debug) {
        self.0 |= field.name() == KIND;
    }
}

struct Sentence<'w> {
    alone: bool,
    words: DefaultVisitor<'w>,
}

impl Sentence<'_> {
    fn says(&self, field: &Field) -> bool {
        field.name() == "message" || !(self.alone || field.name() == REASON)
    }
}

impl Visit for Sentence<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.says(field) {
            self.words.record_str(field, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if self.says(field) {
            self.words.record_error(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.says(field) {
            self.words.record_debug(field, value);
        }
    }
}
