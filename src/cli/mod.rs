//! The programs above the libraries: subcommands, and what starts the tasks and connects them.

pub mod command;
pub mod run;
