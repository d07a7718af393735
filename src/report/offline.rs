//! The snapshot if no docker-balancer runs: what one that starts now would serve.
//!
//! Pure.

use super::{HaproxyInfo, StateSnapshot, history::History};
use crate::{
    haproxy::{
        check_timing::CheckTiming,
        config::{Config, ListenerRules},
        layout::Layout,
        observed::ObservedState,
        tls::{CertificateDirectory, TlsContext},
        version,
    },
    model::{tls::TlsPolicy, world::World},
    routing::{
        decide::{DecideState, Rules, decide},
        rollback::Rollback,
    },
};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// `rollback` is one that would stay active. `observed` is the state of a managed HAProxy that runs nevertheless.
/// `wait` is how long a request waits for a container that does not listen yet.
pub fn offline_snapshot(
    world: World,
    rules: Rules,
    rollback: Option<Rollback>,
    observed: Option<&ObservedState>,
    wait: Duration,
    (now, at_ms): (Instant, u64),
) -> StateSnapshot {
    let mut state = DecideState::default();
    state.rollback = rollback;
    let decision = decide(&world, state, now, &rules);
    let rules = Rules { auth_servers: decision.auth_servers, ..rules };
    let layout = match observed {
        Some(observed) => {
            Layout::for_running_worker(&decision.routes, observed, &BTreeSet::new()).0
        }
        None => Layout::for_new_worker(&decision.routes, 0),
    };
    let (permanent, directory) = (BTreeSet::new(), CertificateDirectory::default());
    let (certificates, policy) = (&rules.certificates, TlsPolicy::default());
    let (cas, directory, http3) = (&rules.cas, &directory, false);
    let tls = TlsContext { certificates, cas, directory, policy, http3, has_default: false };
    let listeners = ListenerRules {
        permanent: &permanent,
        existing: None,
        spare_tcp_ports: &BTreeSet::new(),
        passthrough: false,
        port_map: &rules.port_map,
    };
    let timing = CheckTiming::new(&decision.routes, wait);
    let config = Config::new(&decision.routes, layout, &listeners, timing, tls);
    StateSnapshot {
        at_ms,
        now,
        started_ms: at_ms,
        world: Some(Arc::new(world)),
        docker_connected: true,
        docker_age: Duration::ZERO,
        sources: Vec::new(),
        rules,
        decide_state: decision.memory,
        routes: decision.routes,
        problems: decision.problems,
        orders: None,
        config: Arc::new(config),
        haproxy: HaproxyInfo {
            version: version::OLDEST,
            pid: None,
            managed: true,
            answers: observed.is_some(),
        },
        udp: None,
        last_applied: None,
        last_error: None,
        history: History::default(),
    }
}
