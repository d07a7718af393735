//! The names that a template can use: `containers`, `services`, …
//!
//! Pure. What only a Swarm manager knows is not asked for until a template has looked for it: it then
//! comes out as if there was none, and is rendered again.

use super::{
    container::Gallery,
    filter::Filter,
    outside::Outside,
    swarm::Swarm,
    value::{Dict, List, Of},
};
use minijinja::{
    Value,
    value::{Enumerator, Object},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

#[derive(Debug)]
pub(super) struct Root {
    containers: Value,
    all_containers: Value,
    swarm: Option<Arc<Swarm>>,
    asked: AtomicBool,
    env: Value,
    own: Option<Arc<str>>,
}

const NAMES: &[&str] = &[
    "containers",
    "all_containers",
    "services",
    "all_services",
    "tasks",
    "nodes",
    "own_container_id",
    "env",
];

impl Root {
    pub(super) fn new(
        gallery: &Gallery,
        filter: &Filter,
        swarm: Option<Arc<Swarm>>,
        outside: &Outside,
    ) -> Arc<Self> {
        let all = gallery.containers();
        let own = outside.own.as_deref().and_then(|own| {
            let dicts = all.iter().filter_map(Value::downcast_object_ref::<Dict>);
            let mut ids = dicts.filter_map(|it| it.word("id")).filter(|id| id.starts_with(own));
            ids.next().map(Arc::from)
        });
        let list = |keep: &dyn Fn(&Value) -> bool| {
            let kept = all.iter().filter(|it| keep(it)).cloned().collect();
            List::with_own(Of::Containers, kept, own.clone())
        };
        let env = outside.env.iter().map(|(name, value)| (name.clone(), value.clone()));
        Arc::new(Self {
            containers: list(&|it| filter.takes(it)),
            all_containers: list(&|it| filter.takes_stopped(it)),
            swarm,
            asked: AtomicBool::new(false),
            env: Dict::words(env),
            own,
        })
    }

    /// Whether a template looked for what is there in a Swarm only.
    pub(super) fn asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    fn swarm(&self, of: Of, list: impl Fn(&Swarm) -> Vec<Value>) -> Value {
        self.asked.store(true, Relaxed);
        let items = self.swarm.as_deref().map(list).unwrap_or_default();
        let holds_us = |it: &&Value| {
            let dict = it.downcast_object_ref::<Dict>();
            let id = dict.and_then(|it| it.word("container_id"));
            self.own.is_some() && id == self.own.as_deref()
        };
        let own = match (of, &self.swarm) {
            (Of::Tasks, Some(swarm)) => swarm.tasks.iter().find(holds_us).and_then(id_of),
            (Of::Services, Some(swarm)) => {
                let task = swarm.tasks.iter().find(holds_us);
                let task = task.and_then(Value::downcast_object_ref::<Dict>);
                task.and_then(|it| it.word("service_id")).map(Arc::from)
            }
            _ => None,
        };
        List::with_own(of, items, own)
    }
}

fn id_of(it: &Value) -> Option<Arc<str>> {
    it.downcast_object_ref::<Dict>().and_then(|it| it.word("id")).map(Arc::from)
}

impl Object for Root {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "containers" => self.containers.clone(),
            "all_containers" => self.all_containers.clone(),
            "services" => self.swarm(Of::Services, |it| it.services.clone()),
            "all_services" => self.swarm(Of::Services, |it| it.all_services.clone()),
            "tasks" => self.swarm(Of::Tasks, |it| it.tasks.clone()),
            "nodes" => self.swarm(Of::Nodes, |it| it.nodes.clone()),
            "own_container_id" => Value::from(self.own.as_deref().map(Value::from)),
            "env" => self.env.clone(),
            _ => return None,
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(NAMES)
    }
}
