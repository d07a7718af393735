//! What is told once at the start about options that do nothing here.
//!
//! Pure.

use std::{fmt, path::PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    TemplatesAreCompiledIn { option: &'static str },
    OnlyForService { option: &'static str },
    OnlyForManaged { option: &'static str },
    OnlyForWatch { option: &'static str },
    NoRc(PathBuf),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TemplatesAreCompiledIn { option } => write!(
                f,
                "{option} does nothing: templates are compiled in; \
                 --base-file FILE puts your own global and defaults sections in place of the built-in ones"
            ),
            Self::OnlyForService { option } => {
                write!(f, "{option} does nothing: it is for --haproxy service")
            }
            Self::OnlyForManaged { option } => {
                write!(f, "{option} does nothing: it is for --haproxy managed")
            }
            Self::OnlyForWatch { option } => {
                write!(f, "{option} does nothing: it is for --watch")
            }
            Self::NoRc(path) => write!(f, "--rc: there is no {}", path.display()),
        }
    }
}
