//! One service of a compose file, as far as its containers' traffic is concerned.

use super::{
    Deployment, VariableMode,
    interpolate::{EmptyCause, EmptyVariable},
    loader::{ProjectLoader, Variables},
    note::{ComposeNote, Remark},
    port::ServicePorts,
    yaml::{Content, InvalidPair, Node, PairValue, Position},
};
use crate::model::{
    container::{ExposedPorts, PublishedPort},
    label_text,
};
use std::collections::{BTreeMap, BTreeSet};

/// Limit of the containers of one service: more than an engine runs.
const MAX_SCALE: u32 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub position: Position,
    /// `None` if the service is built: compose then names the image.
    pub image: Option<String>,
    pub container_name: Option<String>,
    /// Number of containers.
    pub scale: u32,
    /// Arguments of the program; none if those of the image apply.
    pub command: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// Whether some of them are those of the service of a Swarm.
    pub has_deploy_labels: bool,
    /// Label → variables that were substituted by nothing in its value or its name.
    pub empty_variables: BTreeMap<String, Vec<EmptyVariable>>,
    pub environment: BTreeMap<String, String>,
    /// Position of each label and variable, by name; the label's if both have the same name.
    pub positions: BTreeMap<String, Position>,
    pub network: ServiceNetwork,
    pub published: Vec<PublishedPort>,
    /// Position of `ports`.
    pub ports_at: Option<Position>,
    pub exposed: ExposedPorts,
}

/// The network that a service uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceNetwork {
    /// Docker's names of the networks.
    Networks(BTreeSet<String>),
    Host,
    None,
    /// The network of the first container of this service.
    Service(String),
    /// The network of a container outside the file.
    Container(String),
}

/// Parses services and adds notes about what it does not understand.
pub(crate) struct ServiceParser<'a> {
    pub(crate) loader: &'a mut ProjectLoader,
    pub(crate) variables: &'a Variables,
}

/// Values of a service by name.
#[derive(Default)]
struct NamedValues {
    texts: BTreeMap<String, String>,
    positions: BTreeMap<String, Position>,
    empty_variables: BTreeMap<String, Vec<EmptyVariable>>,
}

impl ServiceParser<'_> {
    /// Parses a service. `networks` maps the names in the file to Docker's names.
    pub(crate) fn parse_service(
        &mut self,
        name: &str,
        node: &Node,
        networks: &BTreeMap<String, String>,
    ) -> Service {
        let text = |key: &str| node.text_at(key).filter(|text| !text.is_empty()).map(str::to_owned);
        let NamedValues { texts: labels, positions: mut all_positions, empty_variables: blanks } =
            self.parse_labels(name, node);
        let NamedValues { texts: environment, positions: places, .. } =
            self.parse_environment(name, node);
        for (key, position) in places {
            all_positions.entry(key).or_insert(position);
        }
        let (published, exposed) = self.parse_ports(name, node);
        self.note_misplaced_labels(name, node);
        Service {
            name: name.to_owned(),
            position: node.position.clone(),
            image: text("image"),
            container_name: text("container_name"),
            scale: self.parse_scale(name, node),
            command: parse_command(node.get("command")),
            labels,
            has_deploy_labels: self.service_labels(node).is_some(),
            empty_variables: blanks,
            environment,
            positions: all_positions,
            network: self.parse_network_mode(name, node, networks),
            published,
            ports_at: node.get("ports").map(|node| node.position.clone()),
            exposed,
        }
    }

    /// Returns literal values of another file as the variables of this one are written.
    fn write_values(&self, mut values: Variables) -> Variables {
        if self.loader.variable_mode == VariableMode::Keep {
            for value in values.values_mut() {
                *value = value.replace('$', "$$");
            }
        }
        values
    }

    fn add_note(&mut self, service: &str, position: &Position, remark: Remark) {
        self.loader.notes.insert(ComposeNote::for_service(position, service, remark));
    }

    /// Reads the labels in order of increasing priority: of the image if it is built here, of
    /// files, of the service itself, and those that a Swarm lays over them.
    fn parse_labels(&mut self, name: &str, node: &Node) -> NamedValues {
        let mut labels = NamedValues::default();
        if let Some(built) = node.get("build").and_then(|node| node.get("labels")) {
            self.parse_label_pairs(name, built, &mut labels);
        }
        for file in node.get("label_file").map_or(&[][..], Node::as_list) {
            let Some((path, _)) = parse_file_entry(file) else { continue };
            match self.loader.load_variable_file(path, self.variables) {
                Ok(file_values) => {
                    labels.positions.extend(
                        file_values.values.keys().map(|text| (text.clone(), file.position.clone())),
                    );
                    labels.texts.extend(self.write_values(file_values.values));
                    labels.empty_variables.extend(file_values.empty_variables);
                }
                Err(error) => {
                    let remark = Remark::NoLabelFile { file: path.to_owned(), why: error };
                    self.add_note(name, &file.position, remark);
                }
            }
        }
        if let Some(own) = node.get("labels") {
            self.parse_label_pairs(name, own, &mut labels);
        }
        if let Some(own) = self.service_labels(node) {
            self.parse_label_pairs(name, own, &mut labels);
        }
        self.note_empty_variables(name, &labels);
        labels
    }

    /// Returns the labels of the service of a Swarm, if there is one.
    fn service_labels<'a>(&self, node: &'a Node) -> Option<&'a Node> {
        match self.loader.deployment {
            Deployment::Compose => None,
            Deployment::Swarm => node.get("deploy")?.get("labels"),
        }
    }

    /// Adds a note for each unset variable, and for each one that is meant to be empty if the value
    /// looks cut short.
    fn note_empty_variables(&mut self, name: &str, labels: &NamedValues) {
        let is_ours = labels
            .empty_variables
            .iter()
            .filter(|(key, _)| label_text::has_our_labels([key.as_str()]));
        for (key, empty_variables) in is_ours {
            let (Some(position), Some(value)) = (labels.positions.get(key), labels.texts.get(key))
            else {
                continue;
            };
            let shows = label_text::is_cut_short(value);
            for variable in empty_variables
                .iter()
                .filter(|variable| shows || variable.cause == EmptyCause::Unset)
            {
                let (key, value) = (key.clone(), value.clone());
                self.add_note(
                    name,
                    position,
                    Remark::EmptyVariable { key, value, blank: variable.clone() },
                );
            }
        }
    }

    fn parse_label_pairs(&mut self, name: &str, node: &Node, labels: &mut NamedValues) {
        if let Content::Text(text) = &node.content {
            let is_ours = label_text::has_our_labels([text.trim_start()]);
            if is_ours {
                self.add_note(name, &node.position, Remark::LabelsAreText);
            }
            return;
        }
        let (pairs, others) = node.to_pairs();
        for pair in pairs {
            let key = pair.key.to_owned();
            let is_ours = label_text::has_our_labels([pair.key]);
            if let Some(error) = pair.error.filter(|_| is_ours) {
                let remark = Remark::InvalidLabel { key: key.clone(), mistake: error.clone() };
                self.add_note(name, pair.position, remark);
            }
            if let PairValue::Node(value) = pair.value {
                let remark = nested_value_remark(&key, value);
                self.add_note(name, pair.position, remark);
                continue;
            }
            let value = pair.value.as_text().unwrap_or_default().to_owned();
            labels.positions.insert(key.clone(), pair.position.clone());
            labels.empty_variables.remove(&key);
            if !pair.empty_variables.is_empty() {
                labels.empty_variables.insert(key.clone(), pair.empty_variables.to_vec());
            }
            labels.texts.insert(key, value);
        }
        for other in others {
            match other {
                InvalidPair::Map(entry) => {
                    let value = entry.value.as_text().unwrap_or_default().to_owned();
                    let remark = Remark::MapInList { key: entry.key.clone(), value };
                    self.add_note(name, &entry.position, remark);
                }
                InvalidPair::List(position) => self.add_note(name, position, Remark::ListInList),
            }
        }
    }

    fn parse_environment(&mut self, name: &str, node: &Node) -> NamedValues {
        let mut environment = NamedValues::default();
        for file in node.get("env_file").map_or(&[][..], Node::as_list) {
            let Some((path, required)) = parse_file_entry(file) else { continue };
            match self.loader.load_variable_file(path, self.variables) {
                Ok(file_values) => {
                    let positions =
                        file_values.values.keys().map(|text| (text.clone(), file.position.clone()));
                    environment.positions.extend(positions);
                    environment.texts.extend(self.write_values(file_values.values));
                }
                // A missing env_file is no problem: it may hold secrets, which are not present
                // everywhere that labels are checked.
                Err(super::note::FileError::Missing) => {}
                Err(error) if required => {
                    let remark = Remark::NoFile { file: path.to_owned(), why: error };
                    self.add_note(name, &file.position, remark);
                }
                Err(_) => {}
            }
        }
        let Some(own) = node.get("environment") else { return environment };
        for pair in own.to_pairs().0 {
            // A variable without a value takes the shell's.
            let shell_value = || match self.loader.variable_mode {
                VariableMode::Fill => self.variables.get(pair.key).cloned(),
                VariableMode::Keep => Some(format!("${{{}}}", pair.key)),
            };
            let value = pair.value.as_text().map(str::to_owned).or_else(shell_value);
            let Some(value) = value else { continue };
            environment.texts.insert(pair.key.to_owned(), value);
            environment.positions.insert(pair.key.to_owned(), pair.position.clone());
        }
        environment
    }

    fn parse_ports(&mut self, name: &str, node: &Node) -> (Vec<PublishedPort>, ExposedPorts) {
        let mut ports = ServicePorts::default();
        if let Some(node) = node.get("ports") {
            ports.add_published(node);
        }
        if let Some(node) = node.get("expose") {
            ports.add_exposed(node);
        }
        for (position, text) in ports.invalid {
            self.add_note(name, position, Remark::NotAPort { text });
        }
        (ports.published, ports.exposed)
    }

    fn parse_scale(&mut self, name: &str, node: &Node) -> u32 {
        let deploy = node.get("deploy");
        let global = deploy.and_then(|node| node.text_at("mode")) == Some("global");
        let replicas = deploy.and_then(|node| node.get("replicas")).filter(|_| !global);
        let Some(node_value) = node.get("scale").or(replicas) else { return 1 };
        let text = node_value.as_text().unwrap_or_default();
        match text.trim().parse() {
            Ok(scale) if scale <= MAX_SCALE => scale,
            Ok(_) => {
                self.add_note(name, &node_value.position, Remark::ScaleTooHigh { most: MAX_SCALE });
                MAX_SCALE
            }
            Err(_) if text.is_empty() => 1,
            Err(_) => {
                self.add_note(name, &node_value.position, Remark::NotAScale(text.to_owned()));
                1
            }
        }
    }

    fn parse_network_mode(
        &mut self,
        name: &str,
        node: &Node,
        networks: &BTreeMap<String, String>,
    ) -> ServiceNetwork {
        let mode = node.text_at("network_mode").or_else(|| node.text_at("net"));
        match mode.unwrap_or_default() {
            "" => {}
            "host" => return ServiceNetwork::Host,
            "none" => return ServiceNetwork::None,
            "bridge" | "default" => return ServiceNetwork::Networks(["bridge".to_owned()].into()),
            text => {
                return match text.split_once(':') {
                    Some(("service", other)) => ServiceNetwork::Service(other.to_owned()),
                    Some(("container", other)) => ServiceNetwork::Container(other.to_owned()),
                    _ => ServiceNetwork::Networks([text.to_owned()].into()),
                };
            }
        }
        let Some(node_value) = node.get("networks") else { return default_network(networks) };
        let named: Vec<(&str, &Position)> = match &node_value.content {
            Content::Map(entries) => {
                entries.iter().map(|entry| (entry.key.as_str(), &entry.position)).collect()
            }
            _ => node_value
                .as_list()
                .iter()
                .filter_map(|node| {
                    Some((node.as_text().or_else(|| first_key(node))?, &node.position))
                })
                .collect(),
        };
        if named.is_empty() {
            return default_network(networks);
        }
        let mut full_names = BTreeSet::new();
        for (network, position) in named.into_iter().filter(|(network, _)| !network.is_empty()) {
            full_names.insert(networks.get(network).cloned().unwrap_or_else(|| {
                self.add_note(name, position, Remark::NoNetwork(network.to_owned()));
                network.to_owned()
            }));
        }
        ServiceNetwork::Networks(full_names)
    }

    /// Adds a note for each docker-glue label in a place from which no container gets it.
    fn note_misplaced_labels(&mut self, name: &str, node: &Node) {
        for entry in node.entries() {
            if label_text::has_our_labels([entry.key.as_str()]) {
                let (key, under) = (entry.key.clone(), "the service itself".to_owned());
                self.add_note(name, &entry.position, Remark::MisplacedLabel { key, under });
            }
            match entry.key.as_str() {
                // Labels under `build` are the image's and apply to its containers.
                "labels" | "environment" | "command" | "entrypoint" | "build" => {}
                "deploy" if self.service_labels(node).is_some() => {}
                under => {
                    let mut found = Vec::new();
                    visit_our_labels(&entry.value, &mut |key, position| {
                        found.push((position.clone(), key.to_owned()));
                    });
                    for (position, key) in found {
                        let under = under.to_owned();
                        self.add_note(name, &position, Remark::MisplacedLabel { key, under });
                    }
                }
            }
        }
    }
}

/// A text is split as by a shell.
fn parse_command(node: Option<&Node>) -> Vec<String> {
    match node.map(|node| (node.as_text(), node)) {
        None => Vec::new(),
        Some((Some(text), _)) => shlex::split(text).unwrap_or_default(),
        Some((None, list)) => {
            list.as_list().iter().filter_map(Node::as_text).map(str::to_owned).collect()
        }
    }
}

fn default_network(networks: &BTreeMap<String, String>) -> ServiceNetwork {
    ServiceNetwork::Networks(networks.get("default").into_iter().cloned().collect())
}

fn first_key(node: &Node) -> Option<&str> {
    node.entries().first().map(|entry| entry.key.as_str())
}

/// Returns a file's name, and whether the file is required.
fn parse_file_entry(file: &Node) -> Option<(&str, bool)> {
    let path = file.as_text().or_else(|| file.text_at("path")).filter(|text| !text.is_empty())?;
    Some((path, file.text_at("required") != Some("false")))
}

/// Returns the remark about a label value that is not a text.
fn nested_value_remark(key: &str, value: &Node) -> Remark {
    let key = key.to_owned();
    if let Some(inner) = first_key(value) {
        return Remark::LabelIsMap { key, inner: inner.to_owned() };
    }
    let members: Vec<_> = value.as_list().iter().filter_map(Node::as_text).collect();
    Remark::LabelIsList { key, meant: members.join(",") }
}

/// Calls `found` for each docker-glue label anywhere in the node: keys, and texts `name=value`.
pub(crate) fn visit_our_labels(node: &Node, found: &mut impl FnMut(&str, &Position)) {
    match &node.content {
        Content::Nothing => {}
        Content::Text(text) => {
            if let Some((key, _)) =
                text.split_once('=').filter(|(key, _)| label_text::has_our_labels([*key]))
            {
                found(key, &node.position);
            }
        }
        Content::List(list) => list.iter().for_each(|node| visit_our_labels(node, found)),
        Content::Map(entries) => {
            for entry in entries {
                if label_text::has_our_labels([entry.key.as_str()]) {
                    found(&entry.key, &entry.position);
                } else {
                    visit_our_labels(&entry.value, found);
                }
            }
        }
    }
}
