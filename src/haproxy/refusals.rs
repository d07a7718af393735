//! How many requests HAProxy has refused, by route and status.
//!
//! Pure. HAProxy's counters of a backend do not have them, because the frontend answers. So the rules that refuse a request
//! also track it in a table, whose keys are the route's name and the status. Requests that are not refused pay for the
//! look at a variable, and those of routes without features for nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Name of the table.
pub const TABLE: &str = "docker-glue-table-refusals";

/// Statuses that are counted.
pub const STATUSES: [u16; 3] = [401, 403, 429];

/// Maximum number of routes that are told apart. The others are counted together.
pub const MAX_ROUTES: usize = 1000;

/// Stands for all routes that are not told apart. No route's name is without a port.
pub const OTHER_ROUTES: &str = "other";

/// Route's name in HAProxy and status → requests since the worker started.
pub type Refusals = BTreeMap<(String, u16), u64>;

/// Returns the expression of the key of a request that is refused with the status.
pub fn key(status: u16) -> impl fmt::Display {
    key_of("var(txn.route),word(5,' ')", status)
}

/// Likewise, where another expression has the name of the route.
pub fn key_of(name: &str, status: u16) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{name},concat(@{status})"))
}

/// Parses the answer to `show table`. Lines of another form are skipped.
pub fn parse_refusals(answer: &str) -> Refusals {
    answer.lines().filter_map(parse_entry).collect()
}

/// Parses `0x55d0: key=app.test:80@403 use=0 exp=86399000 shard=0 http_req_cnt=7`.
fn parse_entry(line: &str) -> Option<((String, u16), u64)> {
    let field = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
    let (route, status) = field("key=")?.rsplit_once('@')?;
    let status = status.parse().ok().filter(|status| STATUSES.contains(status))?;
    Some(((route.to_owned(), status), field("http_req_cnt=")?.parse().ok()?))
}

/// Returns the counts of the routes with the most refused requests, and the sum of all others.
pub fn limit_routes(refusals: Refusals) -> Refusals {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for ((route, _), count) in &refusals {
        *totals.entry(route).or_default() += count;
    }
    if totals.len() <= MAX_ROUTES {
        return refusals;
    }
    let mut ranked: Vec<_> = totals.into_iter().collect();
    ranked.sort_by(|(one, count), (other, others)| others.cmp(count).then(one.cmp(other)));
    let rest: BTreeSet<String> =
        ranked[MAX_ROUTES..].iter().map(|(route, _)| (*route).to_owned()).collect();
    let mut limited = Refusals::new();
    for ((route, status), count) in refusals {
        let route = if rest.contains(&route) { OTHER_ROUTES.to_owned() } else { route };
        *limited.entry((route, status)).or_default() += count;
    }
    limited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_show_table_are_parsed() {
        let answer = "# table: docker-glue-table-refusals, type: string, size:10240, used:3\n\
            0x55d0a1: key=app.test:80@403 use=0 exp=86399000 http_req_cnt=7\n\
            0x55d0a2: key=ANY:80_a_:exact@401 use=1 exp=86399000 shard=0 http_req_cnt=1\n\
            0x55d0a3: key=app.test:80@429 use=0 exp=86399000 shard=0 http_req_cnt=18446744073709551615\n\
            0x55d0a4: key=app.test:80@500 use=0 exp=1 http_req_cnt=2\n\
            0x55d0a5: key=@ use=0 exp=1 http_req_cnt=2\n\
            0x55d0a6: key=app.test:80@401 use=0 exp=1\n\n";
        let expected =
            [("ANY:80_a_:exact", 401, 1), ("app.test:80", 403, 7), ("app.test:80", 429, u64::MAX)];
        let expected = expected.map(|(route, status, count)| ((route.to_owned(), status), count));
        assert_eq!(parse_refusals(answer), Refusals::from(expected));
        assert_eq!(parse_refusals("No such table\n"), Refusals::new());
    }

    #[test]
    fn routes_beyond_the_limit_are_summed() {
        let route = |number: usize| format!("r{number:04}.test:80");
        let all = (0..MAX_ROUTES + 3).flat_map(|number| {
            let count = if number < 3 { 1 } else { 10 };
            [((route(number), 403), count), ((route(number), 429), 1)]
        });
        let limited = limit_routes(all.clone().collect());
        assert_eq!(limited.len(), 2 * (MAX_ROUTES + 1));
        assert_eq!(limited[&(OTHER_ROUTES.to_owned(), 403)], 3);
        assert_eq!(limited[&(OTHER_ROUTES.to_owned(), 429)], 3);
        assert_eq!(limited[&(route(3), 403)], 10);
        let few: Refusals = all.take(2 * MAX_ROUTES).collect();
        assert_eq!(limit_routes(few.clone()), few);
    }
}
