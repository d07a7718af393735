//! One service of a compose file, as far as its containers' traffic goes.

use super::{
    Outside, port, variables,
    yaml::{Node, Place},
};
use crate::{container::Published, label};
use anyhow::{Context, Result, anyhow, bail};
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
    pub environment: BTreeMap<String, String>,
    /// Where labels and variables stand, by name; the label's where both have it.
    pub lines: BTreeMap<String, Place>,
    pub mode: Mode,
    pub published: Vec<Published>,
    pub exposed: BTreeSet<u16>,
    /// Labels for us under `deploy`, where no container gets them.
    pub misplaced: Vec<(String, Place)>,
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

/// `networks` are the project's, from the file's name to Docker's.
pub(super) fn read(
    name: &str,
    node: &Node,
    networks: &BTreeMap<String, String>,
    outside: &Outside,
) -> Result<Service> {
    let text = |key: &str| node.get(key).map(Node::text).transpose();
    let (labels, mut lines) = labels(node, outside)?;
    let (environment, places) = environment(node, outside)?;
    for (key, place) in places {
        lines.entry(key).or_insert(place);
    }
    let (published, mut exposed) =
        node.get("ports").map(port::ports).transpose()?.unwrap_or_default();
    exposed.extend(node.get("expose").map(port::exposed).transpose()?.unwrap_or_default());
    Ok(Service {
        name: name.to_owned(),
        place: node.place.clone(),
        image: text("image")?.map(str::to_owned),
        container_name: text("container_name")?.map(str::to_owned),
        scale: scale(node)?,
        labels,
        environment,
        lines,
        mode: mode(name, node, networks)?,
        published,
        exposed,
        misplaced: misplaced(node)?,
    })
}

type Texts = BTreeMap<String, String>;
type Places = BTreeMap<String, Place>;

/// Files first; what the service says itself wins.
fn labels(node: &Node, outside: &Outside) -> Result<(Texts, Places)> {
    let (mut labels, mut places) = files(node.get("label_file"), outside, Missing::Refused)?;
    let Some(own) = node.get("labels") else { return Ok((labels, places)) };
    for (key, value, place) in own.pairs()? {
        labels.insert(key.clone(), value.unwrap_or_default());
        places.insert(key, place);
    }
    Ok((labels, places))
}

fn environment(node: &Node, outside: &Outside) -> Result<(Texts, Places)> {
    let (mut environment, mut places) = files(node.get("env_file"), outside, Missing::PassedOver)?;
    let Some(own) = node.get("environment") else { return Ok((environment, places)) };
    let variables = outside.variables()?;
    for (key, value, place) in own.pairs()? {
        // Without a value it is the shell's.
        let Some(value) = value.or_else(|| variables.get(&key).cloned()) else { continue };
        environment.insert(key.clone(), value);
        places.insert(key, place);
    }
    Ok((environment, places))
}

/// What a file is that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Refused,
    /// It may hold secrets, which are not everywhere that labels are looked at.
    PassedOver,
}

/// Files of variables: a name, a list of names, or `path` and `required`.
fn files(node: Option<&Node>, outside: &Outside, missing: Missing) -> Result<(Texts, Places)> {
    let (mut texts, mut places) = (Texts::new(), Places::new());
    let Some(node) = node else { return Ok((texts, places)) };
    for file in node.list()? {
        let path = file.get("path").unwrap_or(file).text()?;
        let required = file.get("required").map(Node::text).transpose()? != Some("false");
        let Some(text) = outside.file(path)? else {
            if required && missing == Missing::Refused {
                bail!("{}: there is no file {path}", file.place);
            }
            continue;
        };
        let place = file.place.to_string();
        let read = variables::read(&text, &outside.variables()?).with_context(|| place)?;
        places.extend(read.keys().map(|key| (key.clone(), file.place.clone())));
        texts.extend(read);
    }
    Ok((texts, places))
}

fn scale(node: &Node) -> Result<u32> {
    let deploy = node.get("deploy");
    let global =
        deploy.and_then(|it| it.get("mode")).map(Node::text).transpose()? == Some("global");
    let replicas = deploy.and_then(|it| it.get("replicas")).filter(|_| !global);
    let Some(said) = node.get("scale").or(replicas) else { return Ok(1) };
    let text = said.text()?;
    match text.parse() {
        Ok(scale) if scale <= MOST => Ok(scale),
        Ok(_) => bail!("{}: {text} containers are more than {MOST}", said.place),
        Err(_) => bail!("{}: {text:?} is no number of containers", said.place),
    }
}

fn mode(name: &str, node: &Node, networks: &BTreeMap<String, String>) -> Result<Mode> {
    if let Some(mode) = node.get("network_mode") {
        return Ok(match mode.text()? {
            "host" => Mode::Host,
            "none" => Mode::None,
            "bridge" | "default" => Mode::Networks(["bridge".to_owned()].into()),
            text => match text.split_once(':') {
                Some(("service", other)) => Mode::Service(other.to_owned()),
                Some(("container", other)) => Mode::Container(other.to_owned()),
                _ => Mode::Networks([text.to_owned()].into()),
            },
        });
    }
    let named: Vec<(&str, &Place)> = match node.get("networks") {
        None => Vec::new(),
        Some(map) if !map.entries().is_empty() => {
            map.entries().iter().map(|it| (it.key.as_str(), &it.place)).collect()
        }
        Some(list) => {
            let list = list.list()?;
            list.iter().map(|it| Ok((it.text()?, &it.place))).collect::<Result<_>>()?
        }
    };
    if named.is_empty() {
        return Ok(Mode::Networks(networks.get("default").into_iter().cloned().collect()));
    }
    let known = |(network, place): (&str, &Place)| {
        networks.get(network).cloned().ok_or_else(|| {
            anyhow!("{place}: service {name} is on network {network}, which the file does not name")
        })
    };
    Ok(Mode::Networks(named.into_iter().map(known).collect::<Result<_>>()?))
}

fn misplaced(node: &Node) -> Result<Vec<(String, Place)>> {
    let Some(labels) = node.get("deploy").and_then(|it| it.get("labels")) else {
        return Ok(Vec::new());
    };
    let ours = labels.pairs()?.into_iter().filter(|(key, ..)| label::speaks([key.as_str()]));
    Ok(ours.map(|(key, _, place)| (key, place)).collect())
}
