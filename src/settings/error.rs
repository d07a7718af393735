//! The reason why the settings could not be made.

use crate::settings::options::Program;
use clap::error::ErrorKind;
use std::process::ExitCode;

/// An error in the command line or in the settings. A request for `--help` is one too.
#[derive(Debug)]
pub enum SettingsError {
    Usage(clap::Error),
    Invalid(anyhow::Error),
}

impl SettingsError {
    pub(super) fn nothing_to_do<P: Program>(once: &str) -> Self {
        let text =
            format!("no mode given: use --watch (-w) to follow Docker, or --once (-1) to {once}");
        P::command_line().error(ErrorKind::MissingRequiredArgument, text).into()
    }

    /// Prints the error to stderr, or help to stdout. Returns the exit status.
    pub fn print_error(&self, program: &str) -> ExitCode {
        match self {
            Self::Usage(error) => {
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
            }
            Self::Invalid(error) => {
                eprintln!("{program}: {error:#}");
                ExitCode::from(2)
            }
        }
    }
}

impl From<clap::Error> for SettingsError {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

impl From<anyhow::Error> for SettingsError {
    fn from(error: anyhow::Error) -> Self {
        Self::Invalid(error)
    }
}
