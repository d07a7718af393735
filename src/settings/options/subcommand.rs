//! What docker-balancer is asked to do besides following Docker, in the words of `--help`.

use super::value;
use crate::report::explain::request::{Method, Url};
use clap::{Subcommand, ValueEnum};
use std::{path::PathBuf, time::Duration};

// (A doc comment would become the program's own.)
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum BalancerCommand {
    #[command(flatten)]
    Look(LocalCommand),
    #[command(flatten)]
    Ask(DaemonCommand),
}

// What can be answered without a docker-balancer that runs: the settings are its own.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum LocalCommand {
    /// Say where a request goes, and why
    ///
    /// From the listener to the route to its servers, each with the container and the label it comes from; who
    /// lost against it and why; and who would take part and does not. The docker-balancer that runs is asked; where
    /// none does, Docker is.
    ///
    /// Exit status: 0 it is served; 1 it is not; 4 neither could be asked.
    Explain {
        /// The URL, as in http://app.example.com/api/x
        url: Url,

        /// The request's method
        #[arg(long, value_name = "METHOD", default_value = "GET")]
        method: Method,

        /// For people, or one JSON object for programs
        #[arg(long, value_name = "FORMAT", value_enum, default_value = "human")]
        format: Format,
    },

    /// Say what would change if the labels were applied now
    ///
    /// In words of routes, as commands for HAProxy, and as a difference of the files. Nothing is changed.
    /// Options of docker-balancer, as in docker-balancer plan --map-port 80=8080, are to be those that it runs with.
    ///
    /// Exit status: 0 nothing; 3 something; 1 it cannot be said; 4 Docker could not be asked.
    #[command(visible_alias = "diff")]
    Plan {
        /// Plan for the services of this compose file as if they ran; - is standard input
        #[arg(long, value_name = "FILE")]
        compose: Option<PathBuf>,

        /// For people, the files alone as a diff, or one JSON object for programs
        #[arg(long, value_name = "FORMAT", value_enum, default_value = "human")]
        format: PlanFormat,
    },

    /// Name every mistake in labels
    ///
    /// Of the containers that run, or of a compose file or an image before anything runs. Hints do not count.
    ///
    /// Exit status: 0 there are none; 1 there are; 4 Docker could not be asked.
    Check {
        /// The services of this compose file; - is standard input
        #[arg(long, value_name = "FILE", conflicts_with = "image")]
        compose: Option<PathBuf>,

        /// The labels of this image
        #[arg(long, value_name = "IMAGE")]
        image: Option<String>,
    },
}

// What only the docker-balancer that runs can answer or do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum DaemonCommand {
    /// Show listeners, routes, servers, problems and the last change
    ///
    /// Exit status: 0 shown; 4 no docker-balancer answers.
    Status {
        /// Show it anew every second until Ctrl-C
        #[arg(short, long)]
        watch: bool,

        /// One JSON object, for programs
        #[arg(long, conflicts_with = "watch")]
        json: bool,
    },

    /// List the routes with their servers
    ///
    /// Exit status: 0 listed; 4 no docker-balancer answers.
    Routes {
        /// One JSON array, for programs
        #[arg(long)]
        json: bool,
    },

    /// List what could not be honoured, and why
    ///
    /// Exit status: 0 there is nothing but hints; 1 there is something; 4 no docker-balancer answers.
    Problems {
        /// One JSON array, for programs
        #[arg(long)]
        json: bool,
    },

    /// List the last changes, each with its cause
    ///
    /// The newest comes last. The last 1000 are kept, over restarts too.
    ///
    /// Exit status: 0 listed; 4 no docker-balancer answers.
    History {
        /// How many to list
        #[arg(short = 'n', long, value_name = "NUMBER", default_value = "20")]
        last: usize,

        /// All of them as one JSON array, for programs
        #[arg(long, conflicts_with = "last")]
        json: bool,
    },

    /// Serve again what was served after an earlier change
    ///
    /// It holds, whatever containers come, until --release; those that are gone by now stay away.
    ///
    /// Exit status: 0 done; 1 not so; 4 no docker-balancer answers.
    Rollback {
        /// The number that history shows
        #[arg(value_name = "NUMBER", required_unless_present = "release")]
        number: Option<u64>,

        /// Follow the containers again
        #[arg(long, conflicts_with = "number")]
        release: bool,
    },

    /// Send a container no new requests, and wait until none is under way
    ///
    /// Before docker stop: then not even clients of a container that drops everything when it is stopped see an
    /// error. It holds until the container stops, or until undrain.
    ///
    /// Exit status: 0 drained; 1 requests are left after the wait, or there is no such container; 4 no
    /// docker-balancer answers.
    Drain {
        /// Its name, or its id or the beginning of it
        container: String,

        /// How long to wait for the requests that are under way
        #[arg(long, value_name = "TIME", value_parser = value::parse_duration, default_value = "30s")]
        wait: Duration,
    },

    /// Send a drained container requests again
    ///
    /// Exit status: 0 done; 1 there is no such container; 4 no docker-balancer answers.
    Undrain {
        /// Its name, or its id or the beginning of it
        container: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Human,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// Words of routes, commands, and the difference of the files
    Human,
    /// The difference of the files alone, as a patch
    Text,
    Json,
}
