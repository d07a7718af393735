//! Every container with all that Docker says of it, and every event, in each container's order.
//!
//! Pure: a state machine. What was heard and answered goes in, what is to be asked and told comes out.
//! An event is told when the container it is about was asked for anew, so that whoever hears it also
//! knows what it has led to.

use crate::container::ContainerId;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// All that the engine says of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub id: ContainerId,
    /// Without the slash that the engine puts before it.
    pub name: String,
    /// As `docker inspect` has it.
    pub json: Box<str>,
}

pub type Roster = BTreeMap<ContainerId, Arc<Description>>;

/// Something that Docker said about a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) id: ContainerId,
    pub(super) name: String,
    /// With its suffix: `health_status: healthy`.
    pub(super) action: String,
    /// Nanoseconds since 1970, by the engine's clock.
    pub(super) time_nano: i64,
    pub(super) attributes: BTreeMap<String, String>,
    /// The container's own event, as against a network's.
    pub(super) is_own: bool,
}

/// An event of a container, and what is known of it after that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    pub id: ContainerId,
    pub name: String,
    /// With its suffix: `health_status: healthy`.
    pub action: String,
    /// Nanoseconds since 1970, by the engine's clock.
    pub time_nano: i64,
    /// Its labels, and some words of the engine's own among them.
    pub attributes: BTreeMap<String, String>,
    /// The last that was known where the container is gone; `None` if it never was. Of an end (`die`, `stop`,
    /// `destroy`) with the networks and ports that it had until then.
    pub description: Option<Arc<Description>>,
}

/// The one, with the networks and ports of the other.
pub fn with_networks_of(it: &Arc<Description>, other: &Description) -> Arc<Description> {
    let networks = |json: &str| {
        let json = serde_json::from_str::<Value>(json).ok()?;
        json.get(NETWORKS).cloned()
    };
    let (Ok(mut json), Some(networks)) =
        (serde_json::from_str::<Map<String, Value>>(&it.json), networks(&other.json))
    else {
        return Arc::clone(it);
    };
    json.insert(NETWORKS.to_owned(), networks);
    let json = Value::Object(json).to_string().into();
    Arc::new(Description { json, ..Description::clone(it) })
}

/// One that is gone does not run, whatever was known of it last.
pub fn ended(it: &Arc<Description>) -> Arc<Description> {
    let mut json: Value = serde_json::from_str(&it.json).unwrap_or_default();
    let Some(state) = json.get_mut("State").and_then(Value::as_object_mut) else {
        return Arc::clone(it);
    };
    if state.get("Running") == Some(&Value::Bool(false)) {
        return Arc::clone(it);
    }
    let said = [("Running", false.into()), ("Pid", 0.into()), ("Status", "exited".into())];
    state.extend(said.map(|(key, value): (_, Value)| (key.to_owned(), value)));
    Arc::new(Description { json: json.to_string().into(), ..Description::clone(it) })
}

/// What is told, in order.
#[derive(Debug, Clone)]
pub enum News {
    /// The roster is another one, and no event said so: a first list, or one after an outage.
    Changed(Arc<Roster>),
    /// The roster is the one after it.
    Happened(Arc<Happened>, Arc<Roster>),
    /// These got their stop signal or have ended, and the engine was not asked for them since.
    Leaving(Arc<BTreeSet<ContainerId>>),
}

/// Answers to one question about one container.
#[derive(Debug)]
pub(super) enum Told {
    Description(Description),
    Gone,
    /// The engine did not answer: what was known stays.
    Nothing,
}

/// Where a description has a container's addresses.
const NETWORKS: &str = "NetworkSettings";
/// Actions that tell of an end.
const ENDS: &[&str] = &["die", "stop", "destroy"];
/// Actions after which nothing is different: they arrive all day.
const IDLE: &[&str] = &["exec_create", "exec_start", "exec_die", "exec_detach", "attach", "top"];
/// Questions at a time.
const MOST_ASKED: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Keeper {
    roster: Arc<Roster>,
    /// What the last list said of each.
    lines: BTreeMap<ContainerId, String>,
    /// Events whose container is being asked for, in order.
    waiting: BTreeMap<ContainerId, VecDeque<Report>>,
    /// To be asked for.
    due: BTreeSet<ContainerId>,
    /// Asked for: whether something was heard of it since.
    asked: BTreeMap<ContainerId, bool>,
    /// Of those that have no address now, or whose events wait: the last that had one.
    addressed: BTreeMap<ContainerId, Arc<Description>>,
    /// The last that was known of those that are gone, while events of theirs wait.
    gone: BTreeMap<ContainerId, Arc<Description>>,
    /// Those that are others in the roster, and no event has told it.
    untold: BTreeSet<ContainerId>,
    /// A first list has been gone through; until then nothing is told.
    complete: bool,
    listed: bool,
    news: Vec<News>,
    recent: Recent,
}

/// An event as the engine repeats it: when, whose, and what.
type Key = (i64, ContainerId, String);

/// Which events were heard, by the engine's clock, which may be set back.
#[derive(Debug, Default)]
struct Recent {
    /// The time from which on the engine is asked to repeat events.
    newest: Option<i64>,
    /// The events that were heard last.
    events: VecDeque<Key>,
    /// Those of the connections before this one: the engine repeats some of them.
    before: BTreeSet<Key>,
    /// The time of the last event before a panic, of which no more is known.
    bookmark: Option<i64>,
    /// How far the clock was set back, until it is said.
    step_back: Option<Duration>,
}

impl Recent {
    /// An engine remembers no more events than that.
    const MOST: usize = 256;
    /// Events of one moment may come in another order, in nanoseconds.
    const DISORDER: i64 = 1_000_000_000;

    fn connect(&mut self) -> Option<i64> {
        self.before = self.events.iter().cloned().collect();
        self.newest
    }

    fn is_repeated(&self, report: &Report) -> bool {
        self.bookmark == Some(report.time_nano) || self.before.contains(&report.key())
    }

    fn add(&mut self, report: &Report) {
        let time = report.time_nano;
        let ahead = self.newest.map_or(0, |newest| newest.saturating_sub(time));
        if Self::DISORDER < ahead {
            self.step_back = u64::try_from(ahead).ok().map(Duration::from_nanos);
            self.newest = Some(time);
        }
        self.newest = self.newest.max(Some(time));
        self.events.push_back(report.key());
        if Self::MOST < self.events.len() {
            self.events.pop_front();
        }
    }
}

impl Report {
    fn key(&self) -> Key {
        (self.time_nano, self.id.clone(), self.action.clone())
    }
}

impl Description {
    fn has_address(&self) -> bool {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        struct Said {
            network_settings: Networks,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "PascalCase")]
        struct Networks {
            networks: BTreeMap<String, Place>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Place {
            #[serde(rename = "IPAddress")]
            ipv4: String,
            #[serde(rename = "GlobalIPv6Address")]
            ipv6: String,
        }
        let said: Said = serde_json::from_str(&self.json).unwrap_or_default();
        let mut places = said.network_settings.networks.values();
        places.any(|place| !place.ipv4.is_empty() || !place.ipv6.is_empty())
    }
}

impl Keeper {
    /// From when on the engine is to tell its events again: an outage loses none that it remembers.
    pub(super) fn connected(&mut self) -> Option<i64> {
        self.recent.connect()
    }

    /// One that goes on behind an event of this time; of all else nothing is known.
    pub(super) fn after(bookmark: Option<i64>) -> Self {
        let recent = Recent { newest: bookmark, bookmark, ..Recent::default() };
        Self { recent, ..Self::default() }
    }

    /// How far the engine's clock was set back, once.
    pub(super) fn take_step_back(&mut self) -> Option<Duration> {
        self.recent.step_back.take()
    }

    /// Questions that were under way are asked again when the engine is back.
    pub(super) fn away(&mut self) {
        self.due.extend(std::mem::take(&mut self.asked).into_keys());
        self.listed = false;
    }

    /// `None` until all is known.
    pub(super) fn roster(&self) -> Option<&Roster> {
        self.complete.then_some(&*self.roster)
    }

    /// Whether it was heard before: an engine repeats what it said at the end of the last connection.
    pub(super) fn is_repeated(&self, report: &Report) -> bool {
        self.recent.is_repeated(report)
    }

    pub(super) fn heard(&mut self, report: Report) {
        if self.is_repeated(&report) {
            return;
        }
        self.recent.add(&report);
        let id = report.id.clone();
        let word = report.action.split(':').next().unwrap_or_default();
        let idle = IDLE.contains(&word);
        let queue = self.waiting.contains_key(&id) || !idle || !self.complete;
        match report.is_own {
            true if queue => self.waiting.entry(id.clone()).or_default().push_back(report),
            true => self.tell(report),
            false => {}
        }
        if !idle || !self.roster.contains_key(&id) {
            self.want(id);
        }
    }

    /// All containers there are, with what of each shows whether it is another.
    pub(super) fn listed(&mut self, lines: BTreeMap<ContainerId, String>) {
        let is_new = |(id, line): &(&ContainerId, &String)| {
            !self.roster.contains_key(*id) || self.lines.get(*id) != Some(*line)
        };
        let new: Vec<_> = lines.iter().filter(is_new).map(|(id, _)| id.clone()).collect();
        // A list that leaves one out is not believed: the engine is asked for it.
        let missing: Vec<_> =
            self.roster.keys().filter(|id| !lines.contains_key(*id)).cloned().collect();
        new.into_iter().chain(missing).for_each(|id| self.want(id));
        self.lines = lines;
        self.listed = true;
        self.settle();
    }

    /// Whom to ask for now.
    pub(super) fn ask(&mut self) -> Option<ContainerId> {
        if MOST_ASKED <= self.asked.len() {
            return None;
        }
        let id = self.due.pop_first()?;
        self.asked.insert(id.clone(), false);
        Some(id)
    }

    pub(super) fn answered(&mut self, id: &ContainerId, told: Told) {
        let Some(stale) = self.asked.remove(id) else { return };
        let known = self.roster.get(id).cloned();
        let changed = match told {
            Told::Description(told) if known.as_deref() != Some(&told) => {
                Arc::make_mut(&mut self.roster).insert(id.clone(), Arc::new(told));
                true
            }
            Told::Gone if known.is_some() => {
                Arc::make_mut(&mut self.roster).remove(id);
                true
            }
            _ => false,
        };
        if let Some(known) = known.filter(|_| changed) {
            if !self.roster.contains_key(id) {
                self.gone.insert(id.clone(), Arc::clone(&known));
            }
            if known.has_address() {
                self.addressed.insert(id.clone(), known);
            }
        }
        if stale {
            self.due.insert(id.clone());
        }
        if changed {
            self.untold.insert(id.clone());
        }
        if !stale && self.complete {
            self.release(id);
            self.gone.remove(id);
            // One that has ended had its address once: until it is destroyed, that is known.
            if self.roster.get(id).is_none_or(|it| it.has_address()) {
                self.addressed.remove(id);
            }
        }
        self.settle();
    }

    pub(super) fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    fn want(&mut self, id: ContainerId) {
        match self.asked.get_mut(&id) {
            Some(stale) => *stale = true,
            None => drop(self.due.insert(id)),
        }
    }

    /// Who does not want these events hears of other containers' changes all the same, so only this one's
    /// is told with them.
    fn release(&mut self, id: &ContainerId) {
        let Some(reports) = self.waiting.remove(id) else { return };
        for report in reports {
            self.tell(report);
        }
        self.untold.remove(id);
    }

    fn tell(&mut self, report: Report) {
        let Report { id, name, action, time_nano, attributes, .. } = report;
        let gone = || self.gone.get(&id).map(ended);
        let mut description = self.roster.get(&id).cloned().or_else(gone);
        if ENDS.contains(&action.as_str())
            && let Some(addressed) = self.addressed.get(&id)
        {
            description = description.map(|it| with_networks_of(&it, addressed));
        }
        let happened = Happened { id, name, action, time_nano, attributes, description };
        self.news.push(News::Happened(Arc::new(happened), Arc::clone(&self.roster)));
    }

    /// When nothing is left to be asked, what no event has told is told.
    fn settle(&mut self) {
        if !self.listed || !self.due.is_empty() || !self.asked.is_empty() {
            return;
        }
        if !self.complete || !self.untold.is_empty() {
            self.news.push(News::Changed(Arc::clone(&self.roster)));
            self.untold.clear();
        }
        if !self.complete {
            self.complete = true;
            let ids: Vec<_> = self.waiting.keys().cloned().collect();
            for id in &ids {
                self.release(id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
