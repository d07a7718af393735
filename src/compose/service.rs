//! One service of a compose file, as far as its containers' traffic goes.

use super::{
    interpolate::{Blank, Cause},
    note::{Note, Remark},
    port::Ports,
    source::{Reader, Variables},
    yaml::{Content, NoPair, Node, PairValue, Place},
};
use crate::{container::Published, label};
use std::collections::{BTreeMap, BTreeSet};

/// Containers of one service: more than an engine runs.
const MOST: u32 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub place: Place,
    /// `None` where the service is built, and its image has the name that compose gives it.
    pub image: Option<String>,
    pub container_name: Option<String>,
    /// How many containers.
    pub scale: u32,
    pub labels: BTreeMap<String, String>,
    /// By label: variables that left nothing in its value or its name.
    pub blanks: BTreeMap<String, Vec<Blank>>,
    pub environment: BTreeMap<String, String>,
    /// Where labels and variables stand, by name; the label's where both have it.
    pub lines: BTreeMap<String, Place>,
    pub mode: Mode,
    pub published: Vec<Published>,
    /// Where `ports` stands.
    pub ports_at: Option<Place>,
    pub exposed: BTreeSet<u16>,
}

/// Whose network it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// By the names that Docker knows.
    Networks(BTreeSet<String>),
    Host,
    None,
    /// That of the first container of this service.
    Service(String),
    /// That of a container outside of the file.
    Container(String),
}

/// Makes services, and tells what is not understood.
pub(super) struct Maker<'a> {
    pub(super) reader: &'a mut Reader,
    pub(super) variables: &'a Variables,
}

/// What a service says by name.
#[derive(Default)]
struct Named {
    texts: BTreeMap<String, String>,
    places: BTreeMap<String, Place>,
    blanks: BTreeMap<String, Vec<Blank>>,
}

impl Maker<'_> {
    /// `networks` are the project's, from the file's name to Docker's.
    pub(super) fn read(
        &mut self,
        name: &str,
        node: &Node,
        networks: &BTreeMap<String, String>,
    ) -> Service {
        let text = |key: &str| node.text_of(key).filter(|it| !it.is_empty()).map(str::to_owned);
        let Named { texts: labels, places: mut lines, blanks } = self.labels(name, node);
        let Named { texts: environment, places, .. } = self.environment(name, node);
        for (key, place) in places {
            lines.entry(key).or_insert(place);
        }
        let (published, exposed) = self.ports(name, node);
        self.misplaced(name, node);
        Service {
            name: name.to_owned(),
            place: node.place.clone(),
            image: text("image"),
            container_name: text("container_name"),
            scale: self.scale(name, node),
            labels,
            blanks,
            environment,
            lines,
            mode: self.mode(name, node, networks),
            published,
            ports_at: node.get("ports").map(|it| it.place.clone()),
            exposed,
        }
    }

    fn tell(&mut self, service: &str, place: &Place, remark: Remark) {
        self.reader.notes.insert(Note::of(place, service, remark));
    }

    /// The image's first, where it is built here; then files; what the service says itself wins.
    fn labels(&mut self, name: &str, node: &Node) -> Named {
        let mut labels = Named::default();
        if let Some(built) = node.get("build").and_then(|it| it.get("labels")) {
            self.label_pairs(name, built, &mut labels);
        }
        for file in node.get("label_file").map_or(&[][..], Node::list) {
            let Some((path, _)) = path(file) else { continue };
            match self.reader.values(path, self.variables) {
                Ok(read) => {
                    labels
                        .places
                        .extend(read.own.keys().map(|it| (it.clone(), file.place.clone())));
                    labels.texts.extend(read.own);
                    labels.blanks.extend(read.blanks);
                }
                Err(why) => {
                    let remark = Remark::NoLabelFile { file: path.to_owned(), why };
                    self.tell(name, &file.place, remark);
                }
            }
        }
        if let Some(own) = node.get("labels") {
            self.label_pairs(name, own, &mut labels);
        }
        self.blanks(name, &labels);
        labels
    }

    /// Variables that nobody sets; and those that are meant to be empty, where that shows.
    fn blanks(&mut self, name: &str, labels: &Named) {
        let ours = labels.blanks.iter().filter(|(key, _)| label::speaks([key.as_str()]));
        for (key, blanks) in ours {
            let (Some(place), Some(value)) = (labels.places.get(key), labels.texts.get(key)) else {
                continue;
            };
            let shows = label::is_cut_short(value);
            for blank in blanks.iter().filter(|it| shows || it.cause == Cause::Unset) {
                let (key, value) = (key.clone(), value.clone());
                self.tell(name, place, Remark::Blank { key, value, blank: blank.clone() });
            }
        }
    }

    fn label_pairs(&mut self, name: &str, node: &Node, labels: &mut Named) {
        if let Content::Text(text) = &node.content {
            let is_ours = label::speaks([text.trim_start()]);
            if is_ours {
                self.tell(name, &node.place, Remark::LabelsAreText);
            }
            return;
        }
        let (pairs, others) = node.pairs();
        for pair in pairs {
            let key = pair.key.to_owned();
            let ours = label::speaks([pair.key]);
            if let Some(mistake) = pair.mistake.filter(|_| ours) {
                let remark = Remark::Label { key: key.clone(), mistake: mistake.clone() };
                self.tell(name, pair.place, remark);
            }
            if let PairValue::Node(value) = pair.value {
                let remark = nested(&key, value);
                self.tell(name, pair.place, remark);
                continue;
            }
            let value = pair.value.text().unwrap_or_default().to_owned();
            labels.places.insert(key.clone(), pair.place.clone());
            labels.blanks.remove(&key);
            if !pair.blanks.is_empty() {
                labels.blanks.insert(key.clone(), pair.blanks.to_vec());
            }
            labels.texts.insert(key, value);
        }
        for other in others {
            match other {
                NoPair::Map(entry) => {
                    let value = entry.value.text().unwrap_or_default().to_owned();
                    let remark = Remark::MapInList { key: entry.key.clone(), value };
                    self.tell(name, &entry.place, remark);
                }
                NoPair::List(place) => self.tell(name, place, Remark::ListInList),
            }
        }
    }

    fn environment(&mut self, name: &str, node: &Node) -> Named {
        let mut environment = Named::default();
        for file in node.get("env_file").map_or(&[][..], Node::list) {
            let Some((path, required)) = path(file) else { continue };
            match self.reader.values(path, self.variables) {
                Ok(read) => {
                    let places = read.own.keys().map(|it| (it.clone(), file.place.clone()));
                    environment.places.extend(places);
                    environment.texts.extend(read.own);
                }
                // It may hold secrets, which are not everywhere that labels are looked at.
                Err(super::note::Unread::Missing) => {}
                Err(why) if required => {
                    let remark = Remark::NoFile { file: path.to_owned(), why };
                    self.tell(name, &file.place, remark);
                }
                Err(_) => {}
            }
        }
        let Some(own) = node.get("environment") else { return environment };
        for pair in own.pairs().0 {
            // Without a value it is the shell's.
            let shells = || self.variables.get(pair.key).map(String::as_str);
            let Some(value) = pair.value.text().or_else(shells) else { continue };
            environment.texts.insert(pair.key.to_owned(), value.to_owned());
            environment.places.insert(pair.key.to_owned(), pair.place.clone());
        }
        environment
    }

    fn ports(&mut self, name: &str, node: &Node) -> (Vec<Published>, BTreeSet<u16>) {
        let mut ports = Ports::default();
        if let Some(node) = node.get("ports") {
            ports.publish(node);
        }
        if let Some(node) = node.get("expose") {
            ports.expose(node);
        }
        for (place, text) in ports.strange {
            self.tell(name, place, Remark::NotAPort { text });
        }
        (ports.published, ports.exposed)
    }

    fn scale(&mut self, name: &str, node: &Node) -> u32 {
        let deploy = node.get("deploy");
        let global = deploy.and_then(|it| it.text_of("mode")) == Some("global");
        let replicas = deploy.and_then(|it| it.get("replicas")).filter(|_| !global);
        let Some(said) = node.get("scale").or(replicas) else { return 1 };
        let text = said.text().unwrap_or_default();
        match text.trim().parse() {
            Ok(scale) if scale <= MOST => scale,
            Ok(_) => {
                self.tell(name, &said.place, Remark::ScaleTooHigh { most: MOST });
                MOST
            }
            Err(_) if text.is_empty() => 1,
            Err(_) => {
                self.tell(name, &said.place, Remark::NotAScale(text.to_owned()));
                1
            }
        }
    }

    fn mode(&mut self, name: &str, node: &Node, networks: &BTreeMap<String, String>) -> Mode {
        let mode = node.text_of("network_mode").or_else(|| node.text_of("net"));
        match mode.unwrap_or_default() {
            "" => {}
            "host" => return Mode::Host,
            "none" => return Mode::None,
            "bridge" | "default" => return Mode::Networks(["bridge".to_owned()].into()),
            text => {
                return match text.split_once(':') {
                    Some(("service", other)) => Mode::Service(other.to_owned()),
                    Some(("container", other)) => Mode::Container(other.to_owned()),
                    _ => Mode::Networks([text.to_owned()].into()),
                };
            }
        }
        let Some(said) = node.get("networks") else { return defaulted(networks) };
        let named: Vec<(&str, &Place)> = match &said.content {
            Content::Map(entries) => {
                entries.iter().map(|it| (it.key.as_str(), &it.place)).collect()
            }
            _ => said
                .list()
                .iter()
                .filter_map(|it| Some((it.text().or_else(|| first_key(it))?, &it.place)))
                .collect(),
        };
        if named.is_empty() {
            return defaulted(networks);
        }
        let mut on = BTreeSet::new();
        for (network, place) in named.into_iter().filter(|(network, _)| !network.is_empty()) {
            on.insert(networks.get(network).cloned().unwrap_or_else(|| {
                self.tell(name, place, Remark::NoNetwork(network.to_owned()));
                network.to_owned()
            }));
        }
        Mode::Networks(on)
    }

    /// Labels of ours where no container gets them.
    fn misplaced(&mut self, name: &str, node: &Node) {
        for entry in node.entries() {
            if label::speaks([entry.key.as_str()]) {
                let (key, under) = (entry.key.clone(), "the service itself".to_owned());
                self.tell(name, &entry.place, Remark::Misplaced { key, under });
            }
            match entry.key.as_str() {
                // Those of a build are the image's, and so the containers' too.
                "labels" | "environment" | "command" | "entrypoint" | "build" => {}
                under => {
                    let mut found = Vec::new();
                    ours_in(&entry.value, &mut |key, place| {
                        found.push((place.clone(), key.to_owned()));
                    });
                    for (place, key) in found {
                        let under = under.to_owned();
                        self.tell(name, &place, Remark::Misplaced { key, under });
                    }
                }
            }
        }
    }
}

fn defaulted(networks: &BTreeMap<String, String>) -> Mode {
    Mode::Networks(networks.get("default").into_iter().cloned().collect())
}

fn first_key(node: &Node) -> Option<&str> {
    node.entries().first().map(|it| it.key.as_str())
}

/// A file's name, and whether it has to be there.
fn path(file: &Node) -> Option<(&str, bool)> {
    let path = file.text().or_else(|| file.text_of("path")).filter(|it| !it.is_empty())?;
    Some((path, file.text_of("required") != Some("false")))
}

/// A value that is no text.
fn nested(key: &str, value: &Node) -> Remark {
    let key = key.to_owned();
    if let Some(inner) = first_key(value) {
        return Remark::LabelIsMap { key, inner: inner.to_owned() };
    }
    let members: Vec<_> = value.list().iter().filter_map(Node::text).collect();
    Remark::LabelIsList { key, meant: members.join(",") }
}

/// Names of labels of ours anywhere in it, as keys and as `name=value`.
pub(super) fn ours_in(node: &Node, found: &mut impl FnMut(&str, &Place)) {
    match &node.content {
        Content::Nothing => {}
        Content::Text(text) => {
            if let Some((key, _)) = text.split_once('=').filter(|(key, _)| label::speaks([*key])) {
                found(key, &node.place);
            }
        }
        Content::List(list) => list.iter().for_each(|it| ours_in(it, found)),
        Content::Map(entries) => {
            for entry in entries {
                if label::speaks([entry.key.as_str()]) {
                    found(&entry.key, &entry.place);
                } else {
                    ours_in(&entry.value, found);
                }
            }
        }
    }
}
