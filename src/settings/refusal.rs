//! Why there are no settings.

use crate::cli;
use clap::error::ErrorKind;
use std::process::ExitCode;

/// `--help` is such a reason too.
#[derive(Debug)]
pub enum Refusal {
    Usage(clap::Error),
    Wrong(anyhow::Error),
}

impl Refusal {
    pub(super) fn nothing_to_do() -> Self {
        let text = "nothing to do: give --watch (-w) to follow Docker, \
                    or --once (-1) to apply the labels and exit";
        cli::command().error(ErrorKind::MissingRequiredArgument, text).into()
    }

    /// Prints it where it belongs.
    pub fn tell(&self) -> ExitCode {
        match self {
            Self::Usage(error) => {
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
            }
            Self::Wrong(error) => {
                eprintln!("docker-balancer: {error:#}");
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
