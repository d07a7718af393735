//! What connects this balancer with its fleet: its record, the drains of all, and what is open of drained containers.

use crate::{
    controller::inflight::{InflightCount, InflightWork},
    fleet::{
        BalancerRecord, DrainId, DrainIntent, DrainIntents, DrainRecord, Fleet, FleetMember,
        FleetSettings, FleetState, OtherDrain, ServedHash,
    },
    model::{
        container::ContainerId,
        problem::{Problem, ProblemSubject, Reason},
    },
    report::history::RouteDelta,
    support::supervise::supervise,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::debug;

/// How often what is open of a drained container is counted for the others.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a request waits until etcd has a drain.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a start waits for the drains of the fleet. Without them, the first pass would end them for a moment.
const START_TIMEOUT: Duration = Duration::from_secs(1);

/// The fleet, as the balancer uses it.
#[derive(Debug)]
pub struct FleetLink {
    fleet: Fleet,
    served: ServedHash,
    /// The drains of the fleet that the next pass has, with their containers.
    applied: BTreeMap<DrainId, ContainerId>,
    counters: watch::Sender<DrainCounters>,
    _counting: JoinSet<()>,
}

/// What a pass needs to know of the fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct FleetOrders {
    drains: BTreeMap<DrainId, DrainRecord>,
    problems: Vec<Reason>,
}

/// Changes of the fleet that need a pass.
#[derive(Debug)]
pub struct FleetEvents {
    state: watch::Receiver<Arc<FleetState>>,
    intents: watch::Receiver<DrainIntents>,
    last: FleetOrders,
}

/// Waits for the drain of a container on all balancers.
#[derive(Debug, Clone)]
pub struct FleetDrain {
    id: DrainId,
    state: watch::Receiver<Arc<FleetState>>,
    intents: watch::Receiver<DrainIntents>,
}

/// How what is open of a drained container is counted.
#[derive(Debug, Clone)]
struct DrainCounter {
    /// `None` if the container does not exist here.
    work: Option<InflightWork>,
    /// Whether what is left is ended.
    cut: bool,
}

type DrainCounters = BTreeMap<DrainId, DrainCounter>;

impl FleetLink {
    pub fn start(settings: FleetSettings) -> Self {
        let fleet = Fleet::start(settings);
        let (counters, counted) = watch::channel(DrainCounters::new());
        let own = Arc::clone(fleet.own());
        let mut counting = JoinSet::new();
        counting.spawn(supervise("drain counts", move || {
            count_drains(counted.clone(), Arc::clone(&own))
        }));
        let (served, applied) = Default::default();
        Self { fleet, served, applied, counters, _counting: counting }
    }

    /// Returns what reports changes of the fleet.
    pub fn events(&self) -> FleetEvents {
        let (state, intents) = (self.fleet.state().clone(), self.fleet.intents());
        FleetEvents { state, intents, last: FleetOrders::default() }
    }

    pub fn state(&self) -> Arc<FleetState> {
        Arc::clone(&self.fleet.state().borrow())
    }

    /// Waits until the drains of the fleet are known, so that the first pass has them.
    pub async fn wait_until_known(&self) {
        let mut state = self.fleet.state().clone();
        let known = state.wait_for(|state| !state.is_initial);
        let _ = timeout(START_TIMEOUT, known).await.map(|known| known.is_ok());
    }

    /// Removes the record of this balancer.
    pub async fn finish(self) {
        self.fleet.finish().await;
    }

    /// Has all balancers drain a container.
    pub fn request_drain(&self, id: &ContainerId, cut: bool) {
        let id = DrainId::from(id);
        let (own, since) = (self.state().own.clone(), unix_seconds());
        let record = match self.drains().remove(&id) {
            Some(record) if cut => record.with_cut(),
            Some(record) => record,
            None => DrainRecord::new(own, since, cut),
        };
        self.fleet.set_intent(id, DrainIntent::Write(record));
    }

    pub fn request_undrain(&self, id: &ContainerId) {
        self.fleet.set_intent(id.into(), DrainIntent::Remove);
    }

    /// Returns what waits for the drain of a container on all balancers.
    pub fn drain_of(&self, id: &ContainerId) -> FleetDrain {
        let (state, intents) = (self.fleet.state().clone(), self.fleet.intents());
        FleetDrain { id: id.into(), state, intents }
    }

    fn drains(&self) -> BTreeMap<DrainId, DrainRecord> {
        read_orders(self.fleet.state(), &self.fleet.intents()).drains
    }

    /// Decides what to do to containers for the drains of the fleet. `find` returns a container that is up; `is_complete`
    /// says that containers that are not there are gone.
    pub fn take_drain_changes(
        &mut self,
        find: impl Fn(&DrainId) -> Option<ContainerId>,
        is_complete: bool,
    ) -> Vec<DrainChange> {
        let (drains, state) = (self.drains(), self.state());
        let mut changes = Vec::new();
        self.applied.retain(|id, container| {
            let is_drained = drains.contains_key(id);
            if !is_drained {
                changes.push(DrainChange::Undrain(container.clone()));
            }
            is_drained
        });
        for (id, record) in &drains {
            match find(id) {
                Some(container) => {
                    if self.applied.insert(id.clone(), container.clone()).is_none() {
                        changes.push(DrainChange::Drain(container.clone()));
                    }
                    changes.extend(record.cut.then_some(DrainChange::Cut(container)));
                }
                None if is_complete && state.is_responsible_for(record) => {
                    self.fleet.set_intent(id.clone(), DrainIntent::Remove);
                }
                None => {}
            }
        }
        changes
    }

    /// Has what is open of drained containers counted, after a pass. `inflight` returns how; `None` if that is not known
    /// now. The places to count stay the same, because requests from before a reload belong to an old worker.
    pub fn update_counters(&self, inflight: impl Fn(&ContainerId) -> Option<InflightWork>) {
        let (drains, before) = (self.drains(), self.counters.borrow().clone());
        let counter = |(id, record): (&DrainId, &DrainRecord)| {
            let work = match self.applied.get(id) {
                None => None,
                Some(container) => {
                    let earlier = before.get(id).and_then(|counter| counter.work.clone());
                    Some(earlier.or_else(|| inflight(container))?)
                }
            };
            Some((id.clone(), DrainCounter { work, cut: record.cut }))
        };
        let counters: DrainCounters = drains.iter().filter_map(counter).collect();
        let is_same = |id: &DrainId, counter: &DrainCounter| {
            let earlier = before.get(id);
            earlier.is_some_and(|earlier| {
                earlier.cut == counter.cut && earlier.work.is_some() == counter.work.is_some()
            })
        };
        if counters.len() != before.len()
            || !counters.iter().all(|(id, counter)| is_same(id, counter))
        {
            self.counters.send_replace(counters);
        }
    }

    pub fn record_routes(&mut self, delta: &RouteDelta) {
        for (key, (before, after)) in &delta.0 {
            self.served = self.served.replace(key, before.as_deref(), after.as_deref());
        }
    }

    /// Sets the record of this balancer, with what is served.
    pub fn set_record(&self, generation: u64, rollback: bool, problems: usize) {
        let served = self.served;
        self.fleet.own().send_if_modified(|own| {
            let mut record =
                own.clone().unwrap_or_else(|| BalancerRecord::new(env!("CARGO_PKG_VERSION")));
            if own.is_none() || record.served != served {
                (record.served, record.since) = (served, unix_seconds());
            }
            (record.generation, record.rollback, record.problems) =
                (generation, rollback, problems);
            let record = Some(record);
            let is_changed = *own != record;
            *own = record;
            is_changed
        });
    }

    pub fn problems(&self) -> Vec<Problem> {
        let problem =
            |reason| Problem { subject: ProblemSubject::Option("--fleet"), label: None, reason };
        fleet_reasons(&self.state()).into_iter().map(problem).collect()
    }
}

/// What the fleet changes for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainChange {
    Drain(ContainerId),
    /// Ends what is left of it.
    Cut(ContainerId),
    Undrain(ContainerId),
}

impl FleetEvents {
    /// Waits for a change that needs a pass. Cancel safe.
    pub async fn next_event(&mut self) {
        loop {
            let changed = tokio::select! {
                changed = self.state.changed() => changed,
                changed = self.intents.changed() => changed,
            };
            if changed.is_err() {
                // The program ends.
                pending::<()>().await;
            }
            let orders = read_orders(&self.state, &self.intents);
            if orders != self.last {
                self.last = orders;
                return;
            }
        }
    }
}

impl FleetDrain {
    /// Waits until etcd has the change of the drain. Returns whether it has.
    pub async fn wait_until_written(&mut self) -> bool {
        let written = self.intents.wait_for(|intents| !intents.contains_key(&self.id));
        timeout(WRITE_TIMEOUT, written).await.is_ok_and(|written| written.is_ok())
    }

    /// Waits until no other balancer serves anything of the container, or until `end`. Returns what is left.
    pub async fn wait_for_others(&mut self, end: Instant) -> Vec<OtherDrain> {
        let id = self.id.clone();
        let none_left = self.state.wait_for(|state| state.others_with(&id).is_empty());
        // What is left at the end is what is known then.
        let _ = timeout_at(end, none_left).await.map(|none_left| none_left.is_ok());
        self.state.borrow().others_with(&id)
    }
}

/// The intents are read first: the state has a change before its intent is gone.
fn read_orders(
    state: &watch::Receiver<Arc<FleetState>>,
    intents: &watch::Receiver<DrainIntents>,
) -> FleetOrders {
    let intents = intents.borrow().clone();
    let state = state.borrow();
    FleetOrders { drains: state.drains_with(&intents), problems: fleet_reasons(&state) }
}

fn fleet_reasons(state: &FleetState) -> Vec<Reason> {
    let silent = state.silent_since.map(|since| Reason::FleetSilent { since });
    let rival = state.has_rival.then(|| Reason::FleetNameTaken { name: state.own.to_string() });
    let (same, apart) = state.split_by_difference();
    let describe = |name| {
        let member: &FleetMember = &state.members[name];
        let rollback = if member.record.rollback { " (rollback)" } else { "" };
        format!("{name}{rollback}")
    };
    let differs = (!apart.is_empty()).then(|| Reason::FleetDiffers {
        apart: apart.into_iter().map(describe).collect(),
        same: same.into_iter().map(describe).collect(),
    });
    [silent, rival, differs].into_iter().flatten().collect()
}

/// Counts what is open of drained containers, and puts it into the own record.
async fn count_drains(
    mut counters: watch::Receiver<DrainCounters>,
    own: Arc<watch::Sender<Option<BalancerRecord>>>,
) {
    // After a panic, the last counters are those that count.
    counters.mark_changed();
    let mut cut = BTreeSet::new();
    loop {
        let current = counters.borrow_and_update().clone();
        cut.retain(|id| current.contains_key(id));
        let mut counts = BTreeMap::new();
        for (id, counter) in &current {
            if counter.cut
                && let Some(work) = &counter.work
                && !cut.contains(id)
            {
                match work.requests.end_requests().await {
                    Ok(()) => drop(cut.insert(id.clone())),
                    Err(error) => debug!("cannot end the requests of {id}: {error}; retrying"),
                }
            }
            counts.extend(count_container(id, counter.work.as_ref()).await);
        }
        let is_finished =
            current.keys().all(|id| counts.get(id).is_some_and(|count: &u64| *count == 0));
        own.send_if_modified(|own| match own {
            Some(record) if record.drains != counts => {
                record.drains = counts;
                true
            }
            _ => false,
        });
        tokio::select! {
            changed = counters.changed() => if changed.is_err() {
                pending::<()>().await;
            },
            () = sleep(COUNT_INTERVAL), if !is_finished => {}
        }
    }
}

/// Returns nothing if that cannot be counted now.
async fn count_container(id: &DrainId, work: Option<&InflightWork>) -> Option<(DrainId, u64)> {
    let Some(work) = work else { return Some((id.clone(), 0)) };
    match work.count().await {
        Ok(InflightCount { requests, flows }) => {
            Some((id.clone(), requests + flows.unwrap_or_default()))
        }
        Err(error) => {
            debug!("cannot count what is open of {id}: {error}; retrying");
            None
        }
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
