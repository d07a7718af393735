//! The command line of the programs: subcommands, and the code that starts the tasks and connects them.

pub mod command;
pub mod run;
pub mod udp;
