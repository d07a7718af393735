//! Why there are no settings.

use crate::cli::Program;
use clap::error::ErrorKind;
use std::process::ExitCode;

/// `--help` is such a reason too.
#[derive(Debug)]
pub enum Refusal {
    Usage(clap::Error),
    Wrong(anyhow::Error),
}

impl Refusal {
    pub(super) fn nothing_to_do<P: Program>(once: &str) -> Self {
        let text =
            format!("nothing to do: give --watch (-w) to follow Docker, or --once (-1) to {once}");
        P::command_line().error(ErrorKind::MissingRequiredArgument, text).into()
    }

    /// Prints it where it belongs.
    pub fn tell(&self, program: &str) -> ExitCode {
        match self {
            Self::Usage(error) => {
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
            }
            Self::Wrong(error) => {
                eprintln!("{program}: {error:#}");
                ExitCode::from(2)
            }
        }
    }
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self::Wrong(error)
    }
}
