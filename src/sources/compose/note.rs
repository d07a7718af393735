//! Every note about a compose file, except the problems of its labels, on one page.
//!
//! Pure. A note never stops the parsing: each service is checked on its own, and what labels do not need is a hint.

use super::{
    Position,
    interpolate::{EmptyVariable, InterpolationError},
};
use crate::{
    model::problem::Severity,
    support::escape::{SingleLine, Truncated},
};
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComposeNote {
    pub position: Position,
    /// The service that the note is about, if any.
    pub service: Option<String>,
    pub remark: Remark,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remark {
    /// `- key: value` under `labels`.
    MapInList {
        key: String,
        value: String,
    },
    /// `- [key, value]` under `labels`.
    ListInList,
    /// `labels: key=value`
    LabelsAreText,
    /// `key: [a, b]` under `labels`; `meant` is the intended value if it is a list of texts.
    LabelIsList {
        key: String,
        meant: String,
    },
    /// `key: {a: b}` under `labels`; `inner` is the first key of the mapping.
    LabelIsMap {
        key: String,
        inner: String,
    },
    /// A docker-glue label whose variables cannot be substituted.
    InvalidLabel {
        key: String,
        mistake: InterpolationError,
    },
    /// A docker-glue label in which a variable was substituted by nothing.
    EmptyVariable {
        key: String,
        value: String,
        blank: EmptyVariable,
    },
    /// A docker-glue label in a place from which no container gets it.
    MisplacedLabel {
        key: String,
        under: String,
    },
    /// A docker-glue label that is set twice in one mapping.
    DuplicateLabel(String),
    NoLabelFile {
        file: String,
        why: FileError,
    },
    /// An included file that is not YAML.
    InvalidInclude(String),
    /// Any other text whose variables cannot be substituted.
    InvalidText(InterpolationError),
    DuplicateKey(String),
    NotAPort {
        text: String,
    },
    NotAScale(String),
    ScaleTooHigh {
        most: u32,
    },
    NoNetwork(String),
    ExtendsNothing,
    Circle,
    NoService(String),
    NoFile {
        file: String,
        why: FileError,
    },
    /// An invalid line of a file of variables.
    Line {
        file: String,
        line: usize,
        mistake: InterpolationError,
    },
    NotAService,
    NoServices,
    /// The services are at the top level, as docker-compose accepted them before 2016.
    FirstFormat,
}

/// Why a file was not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileError {
    Missing,
    /// A folder, a device or a pipe.
    Irregular,
    TooLong,
    /// `https://…`, `git@…`, `oci://…`
    Remote,
    Other(String),
}

impl ComposeNote {
    pub(crate) fn for_service(position: &Position, service: &str, remark: Remark) -> Self {
        Self { position: position.clone(), service: Some(service.to_owned()), remark }
    }

    pub(crate) fn for_project(position: &Position, remark: Remark) -> Self {
        Self { position: position.clone(), service: None, remark }
    }

    pub fn severity(&self) -> Severity {
        match &self.remark {
            Remark::MapInList { key, .. }
            | Remark::LabelIsList { key, .. }
            | Remark::LabelIsMap { key, .. }
                if !key.starts_with("glue_") =>
            {
                Severity::Hint
            }
            Remark::MapInList { .. }
            | Remark::LabelIsList { .. }
            | Remark::LabelIsMap { .. }
            | Remark::LabelsAreText
            | Remark::InvalidLabel { .. }
            | Remark::MisplacedLabel { .. }
            | Remark::DuplicateLabel(_)
            | Remark::NoLabelFile { .. }
            | Remark::InvalidInclude(_) => Severity::Problem,
            _ => Severity::Hint,
        }
    }
}

impl fmt::Display for ComposeNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(service) = &self.service {
            write!(f, "service {}: ", SingleLine(Truncated(service)))?;
        }
        write!(f, "{}", self.remark)
    }
}

#[allow(clippy::too_many_lines)] // One page, one arm per note.
impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MapInList { key, value } => {
                let (key, value) = (SingleLine(Truncated(key)), SingleLine(Truncated(value)));
                write!(
                    f,
                    "- {key}: {value} is a mapping in a list, not a label; write - {key}={value}, \
                     or remove the dashes of all labels"
                )
            }
            Self::ListInList => {
                f.write_str("a list in the list of labels is not a label; write - KEY=VALUE")
            }
            Self::LabelsAreText => f.write_str(
                "labels is a text, but must be a list of KEY=VALUE or a mapping; write - before \
                 it, or KEY: VALUE below labels:",
            ),
            Self::LabelIsList { key, meant } => {
                let key = SingleLine(Truncated(key));
                write!(
                    f,
                    "label {key} is a list, but a label's value must be a text; write {key}: {}, \
                     with commas and without brackets or dashes",
                    SingleLine(Truncated(meant))
                )
            }
            Self::LabelIsMap { key, inner } => {
                let key = SingleLine(Truncated(key));
                write!(
                    f,
                    "label {key} is a mapping, but a label's value must be a text; write {key}_{}: \
                     VALUE",
                    SingleLine(Truncated(inner))
                )
            }
            Self::InvalidLabel { key, mistake } => {
                write!(f, "label {}: {mistake}", SingleLine(Truncated(key)))
            }
            Self::EmptyVariable { key, value, blank } => {
                let (key, value) =
                    (SingleLine(Truncated(key)), SingleLine(Truncated(value)).to_string());
                write!(
                    f,
                    "label {key}={value:?}: {blank}, so an empty text is substituted; set the \
                     variable in the shell or in .env, or give it a default, as in \
                     ${{{}:-example.com}}",
                    blank.name
                )
            }
            Self::MisplacedLabel { key, under } if under == "deploy" => write!(
                f,
                "label {}: labels under deploy are for the Swarm service, and containers do not \
                 get them; move it to the service's labels, or give the Swarm as a --source",
                SingleLine(Truncated(key))
            ),
            Self::MisplacedLabel { key, under } => write!(
                f,
                "label {}: containers do not get labels from {}; move it to the service's labels",
                SingleLine(Truncated(key)),
                SingleLine(Truncated(under))
            ),
            Self::DuplicateLabel(key) => write!(
                f,
                "label {} is set twice, which docker compose refuses; remove one of them (several \
                 routes of a port need names: {0}.NAME)",
                SingleLine(Truncated(key))
            ),
            Self::NoLabelFile { file, why } => {
                write!(
                    f,
                    "label_file: {}",
                    FileErrorText { file, why, unchecked_part: "its content" }
                )
            }
            Self::InvalidInclude(error) => {
                write!(f, "could not read an included file: {}", SingleLine(Truncated(error)))
            }
            Self::InvalidText(error) => write!(f, "{error} (labels are not affected)"),
            Self::DuplicateKey(key) => {
                write!(
                    f,
                    "{} is set twice, which docker compose refuses",
                    SingleLine(Truncated(key))
                )
            }
            Self::NotAPort { text } => write!(
                f,
                "{:?} is not a port in the syntax of compose, so it is ignored",
                SingleLine(Truncated(text)).to_string()
            ),
            Self::NotAScale(text) => write!(
                f,
                "{:?} is not a number of containers, so 1 is used",
                SingleLine(Truncated(text)).to_string()
            ),
            Self::ScaleTooHigh { most } => {
                write!(f, "the service has more than {most} containers; only {most} are checked")
            }
            Self::NoNetwork(network) => write!(
                f,
                "network {} is not defined in the file, which docker compose refuses",
                SingleLine(Truncated(network))
            ),
            Self::ExtendsNothing => f.write_str("extends does not name a service"),
            Self::Circle => f.write_str("files or services refer to each other in a circle"),
            Self::NoService(name) => write!(
                f,
                "there is no service {} to extend; inherited settings are not checked",
                SingleLine(Truncated(name))
            ),
            Self::NoFile { file, why } => {
                write!(f, "{}", FileErrorText { file, why, unchecked_part: "inherited settings" })
            }
            Self::Line { file, line, mistake } => {
                write!(f, "{}:{line}: {mistake}", SingleLine(Truncated(file)))
            }
            Self::NotAService => f.write_str("not a mapping, so no services are read from it"),
            Self::NoServices => f.write_str("the file has no services; check that it is complete"),
            Self::FirstFormat => f.write_str(
                "the file has no services: key; its services are checked, but docker compose no \
                 longer supports that old format",
            ),
        }
    }
}

struct FileErrorText<'a> {
    file: &'a str,
    why: &'a FileError,
    unchecked_part: &'a str,
}

impl fmt::Display for FileErrorText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, why, unchecked_part: what } = self;
        let file = SingleLine(Truncated(file));
        match why {
            FileError::Missing => write!(f, "no such file: {file}"),
            FileError::Irregular => write!(f, "{file} is not a regular file"),
            FileError::TooLong => write!(f, "{file} is too long for such a file"),
            FileError::Remote => {
                return write!(
                    f,
                    "{file} is remote and is not downloaded; {}",
                    super::COMPOSE_CONFIG_HINT
                );
            }
            FileError::Other(error) => {
                write!(f, "cannot read {file}: {}", SingleLine(Truncated(error)))
            }
        }?;
        write!(f, "; not checked: {what}")
    }
}
