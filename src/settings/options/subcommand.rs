//! Subcommands of docker-balancer, with the text of `--help`.

use super::value;
use crate::report::explain::request::{ClientAddress, Method, RequestHeader, Url, UserName};
use clap::{ArgGroup, Subcommand, ValueEnum};
use std::{path::PathBuf, time::Duration};

// (A doc comment would become the program's own.)
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "a process has one value")]
pub enum BalancerCommand {
    #[command(flatten)]
    Look(LocalCommand),
    #[command(flatten)]
    Ask(DaemonCommand),
}

// What can be answered without a docker-balancer that runs: the settings are its own.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "a process has one value")]
pub enum LocalCommand {
    /// Explain where a request goes, and why
    ///
    /// Prints the listener, the route and its servers, each with the container and the label that it comes
    /// from; other routes that match, and why they were not selected; and containers that were skipped, and
    /// why. The data comes from the running docker-balancer, or from Docker if none runs.
    ///
    /// Exit status: 0 the request is served or redirected; 1 it is not; 4 neither answers.
    Explain {
        /// The URL of the request, as in http://app.example.com/api/x
        url: Url,

        /// The method of the request
        #[arg(long, value_name = "METHOD", default_value = "GET")]
        method: Method,

        /// Say what this client gets, as in 192.0.2.7
        ///
        /// With udp:// the client has a port, as in 192.0.2.7:4444 or [2001:db8::7]:4444, and the container of a
        /// new flow is named: one that exists stays with its container.
        #[arg(long, value_name = "ADDRESS")]
        from: Option<ClientAddress>,

        /// Say what a request with this header gets, as in Origin:https://app.example.com
        ///
        /// Can be given several times.
        #[arg(long, value_name = "NAME:VALUE")]
        header: Vec<RequestHeader>,

        /// Say what this user gets, whose password is right
        #[arg(long, value_name = "NAME")]
        user: Option<UserName>,

        /// Print text, or one JSON object
        #[arg(long, value_name = "FORMAT", value_enum, default_value = "human")]
        format: Format,
    },

    /// Show what would change if the labels were applied now
    ///
    /// Prints the changed routes, the commands for HAProxy, and a diff of the files. Changes nothing. Give
    /// the same options of docker-balancer that the running one has, as in docker-balancer plan --map-port
    /// 80=8080.
    ///
    /// Exit status: 0 no changes; 3 changes; 1 failed; 4 Docker does not answer.
    #[command(visible_alias = "diff")]
    Plan {
        /// Plan as if the services of this compose file ran; - is standard input
        #[arg(long, value_name = "FILE")]
        compose: Option<PathBuf>,

        /// Print text, only the diff of the files, or one JSON object
        #[arg(long, value_name = "FORMAT", value_enum, default_value = "human")]
        format: PlanFormat,
    },

    /// Report every error in labels
    ///
    /// Checks the running containers, or a compose file or an image before it is started. Hints do not affect
    /// the exit status.
    ///
    /// Exit status: 0 no problems; 1 problems; 4 Docker does not answer.
    Check {
        /// Check the services of this compose file; - is standard input
        #[arg(long, value_name = "FILE", conflicts_with = "image")]
        compose: Option<PathBuf>,

        /// Check the labels of this image
        #[arg(long, value_name = "IMAGE")]
        image: Option<String>,
    },

    /// Translate the labels of another proxy
    ///
    /// Prints the labels of docker-balancer with the same meaning, as a compose file with the services of the
    /// input. The comment of each label names what it was made from. Other comments say what has no counterpart, and
    /// what to do instead. Policies for the settings file follow. Variables such as ${DOMAIN} stay as written.
    /// Nothing is changed.
    ///
    /// Exit status: 0 printed; 1 failed; 4 Docker does not answer.
    #[command(group = ArgGroup::new("input").required(true))]
    Migrate {
        /// The proxy whose labels or variables are translated
        #[arg(long, value_name = "PROXY", value_enum)]
        from: MigrationSource,

        /// Translate the services of this compose file, and of further files; - is standard input
        ///
        /// Give all files together: a middleware in one of them is found by the services of the others.
        #[arg(long, value_name = "FILE", num_args = 1.., group = "input")]
        compose: Vec<PathBuf>,

        /// Translate the running containers
        #[arg(long, group = "input")]
        running: bool,
    },

    /// Renew, import and prepare certificates
    #[command(subcommand)]
    Certificate(CertificateCommand),

    /// Report whether HAProxy can serve clients
    ///
    /// Sends one query to HAProxy's runtime API, and none to Docker or docker-balancer: HAProxy serves without
    /// them. For programs that move an address between balancers, such as keepalived. Give the same options of
    /// docker-balancer that the running one has.
    ///
    /// Exit status: 0 HAProxy answers; 1 it does not, is stopping, or has another configuration.
    Ready,

    /// List the labels, with their values, defaults and meanings
    ///
    /// Queries neither Docker nor a running docker-balancer.
    ///
    /// Exit status: 0 listed.
    Labels {
        /// Print text, a Markdown table, or one JSON array
        #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
        format: LabelFormat,
    },
}

// What only the docker-balancer that runs can answer or do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum DaemonCommand {
    /// Show listeners, routes, servers, problems and the last change
    ///
    /// Exit status: 0 shown; 1 there is no fleet; 4 docker-balancer does not answer.
    Status {
        /// Refresh every second until Ctrl-C
        #[arg(short, long)]
        watch: bool,

        /// Print one JSON object
        #[arg(long, conflicts_with = "watch")]
        json: bool,

        /// Show what each balancer of the fleet serves instead
        #[arg(id = "of_fleet", long = "fleet", conflicts_with = "watch")]
        fleet: bool,
    },

    /// List routes and their servers
    ///
    /// Exit status: 0 listed; 4 docker-balancer does not answer.
    Routes {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },

    /// List labels and conditions that could not be applied, and why
    ///
    /// Exit status: 0 no problems, or only hints; 1 problems; 4 docker-balancer does not answer.
    Problems {
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },

    /// List HTTPS hosts with their certificates, and when they expire
    ///
    /// Exit status: 0 all hosts have a valid certificate; 1 some have none; 4 docker-balancer does not answer.
    Certificates {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },

    /// List the latest changes and their causes
    ///
    /// The newest change comes last. The last 1000 changes are kept, across restarts, too.
    ///
    /// Exit status: 0 listed; 4 docker-balancer does not answer.
    History {
        /// List this many changes
        #[arg(short = 'n', long, value_name = "NUMBER", default_value = "20")]
        last: usize,

        /// Print all changes as one JSON array
        #[arg(long, conflicts_with = "last")]
        json: bool,
    },

    /// Serve the routes of an earlier generation again
    ///
    /// They stay in effect until --release, even when containers start. Containers that no longer exist are
    /// left out.
    ///
    /// Exit status: 0 done; 1 failed; 4 docker-balancer does not answer.
    Rollback {
        /// The number of the generation, as shown by history
        #[arg(value_name = "NUMBER", required_unless_present = "release")]
        number: Option<u64>,

        /// End the rollback and follow the containers again
        #[arg(long, conflicts_with = "number")]
        release: bool,
    },

    /// Stop new requests to a container and wait for requests in flight
    ///
    /// Use it before docker stop: clients see no error, even if the container drops its connections when it
    /// stops. It also waits for connections of TCP and flows of UDP. The container stays drained until it stops, until
    /// undrain, or until docker-balancer restarts.
    ///
    /// Exit status: 0 drained; 1 requests are still in flight after the wait, or there is no such container;
    /// 4 docker-balancer does not answer.
    Drain {
        /// The container's name, id, or the beginning of its id
        container: String,

        /// Wait this long for requests in flight
        #[arg(long, value_name = "TIME", value_parser = value::parse_duration, default_value = "30s")]
        wait: Duration,

        /// End what is left after the wait
        ///
        /// Clients of HTTP and TCP lose their connections, WebSocket connections included. Flows of UDP go to another
        /// container at their next datagram. Then drain succeeds. With --wait 0s all is ended at once.
        #[arg(long)]
        cut: bool,
    },

    /// Send new requests to a drained container again
    ///
    /// Exit status: 0 done; 1 there is no such container; 4 docker-balancer does not answer.
    Undrain {
        /// The container's name, id, or the beginning of its id
        container: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum CertificateCommand {
    /// Order a new certificate for a host now
    ///
    /// The current certificate serves until the new one is issued. The limits of the CA apply.
    ///
    /// Exit status: 0 the order is scheduled; 1 none is ordered for the host; 4 docker-balancer does not answer.
    Renew {
        /// A host as in the list of docker-balancer certificates
        host: String,
    },

    /// Print the DNS record with which the CA accepts orders for a domain
    ///
    /// It is the TXT record of --acme-challenge dns-persist. It contains no secret and stays the same for the
    /// account at the CA.
    ///
    /// Exit status: 0 printed; 1 there is no account yet; 4 docker-balancer does not answer.
    Record {
        /// The domain, as in example.com; *.example.com permits its subdomains, too
        domain: String,
    },

    /// Import the certificates of Traefik
    ///
    /// Writes each certificate of Traefik's acme.json with its key into a file of the directory. A file with a
    /// certificate that expires later is kept. Directories of certbot and nginx-proxy need no import: use them
    /// as --certificates.
    ///
    /// Exit status: 0 imported; 1 a certificate could not be imported.
    Import {
        /// Traefik's acme.json
        file: PathBuf,

        /// The directory; by default the first one of --certificates
        #[arg(long, value_name = "DIRECTORY")]
        to: Option<PathBuf>,
    },

    /// Replace the key of the account at the CA
    ///
    /// For example after the key was exposed. Certificates and their keys stay as they are.
    ///
    /// Exit status: 0 replaced; 1 the CA did not accept it; 4 docker-balancer does not answer.
    ReplaceAccountKey,

    /// Print the certificate of docker-balancer's own CA
    ///
    /// Give it to clients so that they trust the certificates of hosts with cert=self, and of names that no
    /// public CA signs. It contains no secret.
    ///
    /// Exit status: 0 printed; 1 there is none yet.
    Ca,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Human,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MigrationSource {
    /// Labels of Traefik 1, 2 and 3
    Traefik,
    /// Variables of nginx-proxy and acme-companion
    NginxProxy,
    /// Labels of caddy-docker-proxy
    Caddy,
    /// Labels of EasyHAProxy
    #[value(name = "easyhaproxy")]
    EasyHaproxy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LabelFormat {
    Text,
    Markdown,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// Changed routes, commands, and the diff of the files
    Human,
    /// Only the diff of the files, as a patch
    Text,
    Json,
}
