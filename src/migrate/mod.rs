//! Translates what containers say to another proxy into labels of docker-balancer.
//!
//! Pure. Nothing is guessed silently: each label has the origin that it was made from, and what has no counterpart is a
//! [`Note`]. What protects a route and cannot be translated closes the route with a policy that does not exist, until
//! the administrator decides.
//!
//! ```text
//! services ─traefik, nginx_proxy, caddy, easyhaproxy─▶ RouteDrafts, notes ─draft─▶ Translation ─output─▶ text
//! ```

mod caddy;
mod draft;
mod easyhaproxy;
mod input;
mod nginx_proxy;
pub mod output;
mod text;
mod traefik;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A proxy that reads labels or variables of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Traefik,
    NginxProxy,
    /// caddy-docker-proxy.
    Caddy,
    EasyHaproxy,
}

/// A service of a compose file, or a container. All texts are written as in a compose file, with `${NAME}` and `$$`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceInput {
    /// Number of the file or project that the service is from.
    pub input: usize,
    pub name: String,
    pub image: String,
    pub labels: BTreeMap<String, String>,
    pub environment: BTreeMap<String, String>,
    /// Arguments of the program.
    pub command: Vec<String>,
    /// Ports of TCP on which the container listens, as far as they are known.
    pub exposed: BTreeSet<u16>,
    pub image_ports: ImagePorts,
    /// Ports of the container and of the host.
    pub published: BTreeMap<u16, u16>,
    pub place: LabelPlace,
}

/// Whether the ports that the image exposes are among those of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImagePorts {
    /// A compose file has only those of the service.
    #[default]
    Unknown,
    Known,
}

/// Where a compose file has the labels of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LabelPlace {
    #[default]
    Service,
    /// Below `deploy`.
    Deploy,
}

/// Labels and policies with the same meaning as the input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translation {
    /// Services that say something to the other proxy, in the order of the input.
    pub services: Vec<ServiceTranslation>,
    /// Policies for the settings file, by name.
    pub policies: BTreeMap<String, Policy>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceTranslation {
    /// That of [`ServiceInput`].
    pub input: usize,
    pub name: String,
    pub place: LabelPlace,
    pub labels: Vec<Label>,
    pub notes: Vec<Note>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub key: String,
    pub value: String,
    /// What the label was made from.
    pub origin: String,
}

/// A policy for the settings file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Where the input refers to the policy.
    pub origin: String,
    /// Empty if the administrator has to write the policy.
    pub options: Vec<Label>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    pub kind: NoteKind,
    /// The label or variable that the note is about.
    pub origin: String,
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoteKind {
    /// Something has no counterpart, or had to be assumed.
    Loss,
    /// All is translated; the note names a difference or an option.
    Advice,
}

/// How much of a service or file was translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Whole,
    /// With notes about losses.
    Partial,
    /// There are losses and no labels.
    Nothing,
}

impl Program {
    pub const ALL: [Self; 4] = [Self::Traefik, Self::NginxProxy, Self::Caddy, Self::EasyHaproxy];
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Traefik => "Traefik",
            Self::NginxProxy => "nginx-proxy",
            Self::Caddy => "caddy-docker-proxy",
            Self::EasyHaproxy => "EasyHAProxy",
        })
    }
}

/// Translates all services of one input. What one of them defines for another, such as a middleware, is resolved.
pub fn translate(program: Program, services: &[ServiceInput]) -> Translation {
    match program {
        Program::Traefik => traefik::translate(services),
        Program::NginxProxy => nginx_proxy::translate(services),
        Program::Caddy => caddy::translate(services),
        Program::EasyHaproxy => easyhaproxy::translate(services),
    }
}

impl ServiceTranslation {
    pub fn outcome(&self) -> Outcome {
        let has_loss = self.notes.iter().any(|note| note.kind == NoteKind::Loss);
        match (has_loss, self.labels.is_empty()) {
            (false, _) => Outcome::Whole,
            (true, false) => Outcome::Partial,
            (true, true) => Outcome::Nothing,
        }
    }
}

impl Translation {
    /// Returns `None` if no service says anything to the other proxy.
    pub fn outcome(&self) -> Option<Outcome> {
        let outcomes = || self.services.iter().map(ServiceTranslation::outcome);
        let worst = outcomes().max()?;
        let has_labels = self.services.iter().any(|service| !service.labels.is_empty());
        Some(if worst == Outcome::Nothing && has_labels { Outcome::Partial } else { worst })
    }
}
