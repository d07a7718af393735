//! The users of all routes, by the names of their sets: for the server that HAProxy asks about passwords.

use crate::{
    haproxy::features,
    model::{
        http::users::Users,
        label_option::{LabelOption, OptionValue},
        route::Routes,
    },
};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

/// How many sets are remembered that no route has. A rollback may bring their routes back, and the history has no
/// hashes.
const MAX_UNUSED: usize = 1000;

/// Shared between the balancer, which writes it, and the server.
#[derive(Debug, Clone, Default)]
pub struct UserSets(Arc<RwLock<Sets>>);

#[derive(Debug, Default)]
struct Sets {
    by_name: BTreeMap<String, UserSet>,
    /// Number of the last update.
    update: u64,
}

#[derive(Debug)]
struct UserSet {
    users: Users,
    /// Number of the last update whose routes had it.
    used: u64,
}

impl UserSets {
    /// Adds the sets of the routes. HAProxy gets the routes afterwards, so that no question is about an unknown set.
    pub fn add_routes(&self, routes: &Routes) {
        let with_users =
            routes.0.values().filter_map(|route| match route.policy.find(LabelOption::Users)? {
                OptionValue::Users(users) if users.is_known() => Some(users),
                _ => None,
            });
        let mut sets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        sets.update += 1;
        let update = sets.update;
        for users in with_users {
            let name = features::users_set(users);
            let set = || UserSet { users: users.clone(), used: update };
            sets.by_name.entry(name).or_insert_with(set).used = update;
        }
        sets.forget_unused();
    }

    /// Returns the users of a set.
    pub fn find(&self, name: &str) -> Option<Users> {
        let sets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        sets.by_name.get(name).map(|set| set.users.clone())
    }
}

impl Sets {
    /// Removes the sets above the limit that were used least recently.
    fn forget_unused(&mut self) {
        let update = self.update;
        let mut uses: Vec<_> =
            self.by_name.values().map(|set| set.used).filter(|used| *used != update).collect();
        if uses.len() <= MAX_UNUSED {
            return;
        }
        uses.sort_unstable();
        let oldest = uses[uses.len() - MAX_UNUSED];
        self.by_name.retain(|_, set| oldest <= set.used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::route::{Policy, Route};

    fn routes(names: impl IntoIterator<Item = usize>) -> Routes {
        let route = |n: usize| {
            let users = format!("u{n}:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=").parse::<Users>();
            let policy = Policy::default().with(users.unwrap());
            let key = format!("a{n}.test:80/").parse().unwrap();
            (key, Arc::new(Route { policy, ..Route::default() }))
        };
        Routes(names.into_iter().map(route).collect())
    }

    fn name(n: usize) -> String {
        let routes = routes([n]);
        features::users_set(&routes.0.values().next().unwrap().policy.get())
    }

    #[test]
    fn sets_of_former_routes_are_remembered_up_to_limit() {
        let sets = UserSets::default();
        sets.add_routes(&routes(0..3));
        sets.add_routes(&routes(2..4));
        for n in 0..4 {
            assert!(sets.find(&name(n)).is_some_and(|users| users.is_known()), "{n}");
        }
        assert!(sets.find(&name(4)).is_none());
        sets.add_routes(&routes(5..2000));
        sets.add_routes(&routes([0]));
        let known: Vec<_> = [0, 1, 3].map(|n| sets.find(&name(n)).is_some()).into();
        assert_eq!(known, [true, false, false]);
    }

    #[test]
    fn set_of_digest_alone_is_no_answer() {
        let mut routes = routes([0]);
        let digest = Users::from_digest("0123456789abcdef0123456789abcdef").unwrap();
        let name = features::users_set(&digest);
        let policy = Policy::default().with(digest);
        routes.0.values_mut().for_each(|route| {
            *route = Arc::new(Route { policy: policy.clone(), ..Route::default() });
        });
        let sets = UserSets::default();
        sets.add_routes(&routes);
        assert!(sets.find(&name).is_none());
    }
}
