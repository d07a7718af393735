//! The variables that a template can use: `containers`, `services`, `certificates`, …
//!
//! Pure. What only a Swarm manager knows is not queried until a template uses it. The template is then rendered
//! without it at first, and again with it.

use super::{
    certificate,
    container::ContainerViews,
    environment::TemplateEnv,
    filter::TemplateFilter,
    swarm::Swarm,
    value::{Dict, ListKind, ValueList},
};
use crate::sources::certificate::CertificateLists;
use minijinja::{
    Value,
    value::{Enumerator, Object},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

#[derive(Debug)]
pub(crate) struct TemplateContext {
    containers: Value,
    all_containers: Value,
    swarm: Option<Arc<Swarm>>,
    needs_swarm: AtomicBool,
    certificates: Value,
    env: Value,
    own_container_id: Option<Arc<str>>,
}

const VARIABLE_NAMES: &[&str] = &[
    "containers",
    "all_containers",
    "services",
    "all_services",
    "tasks",
    "nodes",
    "certificates",
    "own_container_id",
    "env",
];

impl TemplateContext {
    pub(crate) fn new(
        (gallery, certificates): (&ContainerViews, &CertificateLists),
        filter: &TemplateFilter,
        swarm: Option<Arc<Swarm>>,
        outside: &TemplateEnv,
    ) -> Arc<Self> {
        let all = gallery.containers();
        let own = outside.own_container_id.as_deref().and_then(|own| {
            let dicts = all.iter().filter_map(Value::downcast_object_ref::<Dict>);
            let mut ids = dicts.filter_map(|dict| dict.text("id")).filter(|id| id.starts_with(own));
            ids.next().map(Arc::from)
        });
        let list = |keep: &dyn Fn(&Value) -> bool| {
            let kept = all.iter().filter(|value| keep(value)).cloned().collect();
            ValueList::with_own_container(ListKind::Containers, kept, own.clone())
        };
        let env = outside.env.iter().map(|(name, value)| (name.clone(), value.clone()));
        Arc::new(Self {
            containers: list(&|value| filter.matches(value)),
            all_containers: list(&|value| filter.matches_any_state(value)),
            swarm,
            needs_swarm: AtomicBool::new(false),
            certificates: certificate::list_certificates(certificates),
            env: Dict::from_pairs(env),
            own_container_id: own,
        })
    }

    /// Whether a template used a variable that only exists in a Swarm.
    pub(crate) fn needs_swarm(&self) -> bool {
        self.needs_swarm.load(Relaxed)
    }

    fn swarm_list(&self, of: ListKind, list: impl Fn(&Swarm) -> Vec<Value>) -> Value {
        self.needs_swarm.store(true, Relaxed);
        let items = self.swarm.as_deref().map(list).unwrap_or_default();
        let runs_in_own_container = |value: &&Value| {
            let dict = value.downcast_object_ref::<Dict>();
            let id = dict.and_then(|dict| dict.text("container_id"));
            self.own_container_id.is_some() && id == self.own_container_id.as_deref()
        };
        let own = match (of, &self.swarm) {
            (ListKind::Tasks, Some(swarm)) => {
                swarm.tasks.iter().find(runs_in_own_container).and_then(id_of)
            }
            (ListKind::Services, Some(swarm)) => {
                let task = swarm.tasks.iter().find(runs_in_own_container);
                let task = task.and_then(Value::downcast_object_ref::<Dict>);
                task.and_then(|dict| dict.text("service_id")).map(Arc::from)
            }
            _ => None,
        };
        ValueList::with_own_container(of, items, own)
    }
}

fn id_of(value: &Value) -> Option<Arc<str>> {
    value.downcast_object_ref::<Dict>().and_then(|dict| dict.text("id")).map(Arc::from)
}

impl Object for TemplateContext {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "containers" => self.containers.clone(),
            "all_containers" => self.all_containers.clone(),
            "services" => self.swarm_list(ListKind::Services, |swarm| swarm.services.clone()),
            "all_services" => {
                self.swarm_list(ListKind::Services, |swarm| swarm.all_services.clone())
            }
            "tasks" => self.swarm_list(ListKind::Tasks, |swarm| swarm.tasks.clone()),
            "nodes" => self.swarm_list(ListKind::Nodes, |swarm| swarm.nodes.clone()),
            "own_container_id" => Value::from(self.own_container_id.as_deref().map(Value::from)),
            "certificates" => self.certificates.clone(),
            "env" => self.env.clone(),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(VARIABLE_NAMES)
    }
}
