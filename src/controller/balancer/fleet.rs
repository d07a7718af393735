//! The fleet of the balancer: its drains apply to containers, and its members get to know what is served.

use super::Balancer;
use crate::{
    controller::fleet_link::{DrainChange, FleetDrain, FleetLink},
    fleet::{DrainId, FleetState},
    model::{
        container::ContainerId,
        problem::{Problem, Severity},
        world::World,
    },
};
use std::sync::Arc;

impl Balancer {
    /// Has this balancer take part in a fleet.
    pub fn set_fleet(&mut self, fleet: FleetLink) {
        self.fleet = Some(fleet);
    }

    /// Waits until the drains of the fleet are known, if there is one.
    pub async fn wait_for_fleet(&self) {
        if let Some(fleet) = &self.fleet {
            fleet.wait_until_known().await;
        }
    }

    /// Leaves the fleet.
    pub async fn finish_fleet(&mut self) {
        if let Some(fleet) = self.fleet.take() {
            fleet.finish().await;
        }
    }

    /// Returns what is known of the fleet. `None` without one.
    pub fn fleet_state(&self) -> Option<Arc<FleetState>> {
        self.fleet.as_ref().map(FleetLink::state)
    }

    /// Has the other balancers drain a container, too.
    pub fn request_fleet_drain(&self, id: &ContainerId, cut: bool) {
        if let Some(fleet) = &self.fleet {
            fleet.request_drain(id, cut);
        }
    }

    pub fn request_fleet_undrain(&self, id: &ContainerId) {
        if let Some(fleet) = &self.fleet {
            fleet.request_undrain(id);
        }
    }

    /// Returns what waits for the drain of a container on all balancers. `None` without a fleet.
    pub fn fleet_drain(&self, id: &ContainerId) -> Option<FleetDrain> {
        self.fleet.as_ref().map(|fleet| fleet.drain_of(id))
    }

    /// Drains and undrains what the fleet does.
    pub(crate) fn apply_fleet_drains(&mut self, world: &World) {
        let Some(fleet) = &mut self.fleet else { return };
        let is_complete = self.source_states.iter().all(|source| source.connected);
        for change in fleet.take_drain_changes(|id| find_up(world, id), is_complete) {
            match change {
                DrainChange::Drain(id) => self.memory.drain_container(&id),
                DrainChange::Cut(id) => self.memory.cut_container(&id),
                DrainChange::Undrain(id) => self.memory.undrain_container(&id),
            }
        }
    }

    pub(crate) fn fleet_problems(&self) -> Vec<Problem> {
        self.fleet.as_ref().map(FleetLink::problems).unwrap_or_default()
    }

    /// Gives the fleet what is served after a pass.
    pub(crate) fn update_fleet(&mut self) {
        let Some(fleet) = &self.fleet else { return };
        fleet.update_counters(|id| self.inflight_work(id));
        let problems =
            self.problem_log.problems().iter().chain(self.health_monitor.problems().iter());
        let problems =
            problems.filter(|problem| problem.reason.severity() == Severity::Problem).count();
        let is_rolled_back = self.memory.rollback.is_some();
        fleet.set_record(self.history.last_number(), is_rolled_back, problems);
    }
}

/// Returns a container that is up.
fn find_up(world: &World, id: &DrainId) -> Option<ContainerId> {
    let first = ContainerId::first_with_short(id.as_str());
    let (found, container) = world.containers.range(first..).next()?;
    (found.short() == id.as_str() && container.is_up()).then(|| found.clone())
}
