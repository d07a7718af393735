//! The endpoints of a listener as slots of a pool: new flows are distributed evenly to the slots.
//!
//! Pure. Pools have few different sizes, because each size is a map with a rule of its own.

use crate::udp::{
    config::UdpEndpoint,
    pick::{Seed, hash_number},
};

/// Sizes of pools. A size fits if it gives each endpoint its share within [`TOLERANCE`].
const SIZES: [u16; 14] = [1, 2, 3, 4, 6, 8, 12, 24, 60, 120, 240, 480, 1200, 2400];
/// The greatest part of its share that an endpoint may get more or less.
const TOLERANCE: f64 = 0.05;
/// The least size for flows that are distributed by a hash of the client: with one size, an endpoint that comes or goes
/// moves few clients of others.
pub const SOURCE_SLOTS: u16 = 60;

/// Returns for each slot of the smallest pool that fits the index of its endpoint; at least `least` slots, unless there
/// is one endpoint. All endpoints accept flows.
pub fn fill_slots(endpoints: &[&UdpEndpoint], least: u16) -> Vec<usize> {
    match endpoints {
        [] => Vec::new(),
        [_] => vec![0],
        endpoints => {
            let weights: Vec<_> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
            assign_slots(endpoints, choose_quotas(&weights, least))
        }
    }
}

/// Returns the number of slots of each endpoint. If no size fits, it is that of the largest pool, or with more endpoints
/// than slots one for each.
fn choose_quotas(weights: &[u16], least: u16) -> Vec<u16> {
    let mut sizes =
        SIZES.iter().filter(|size| least.max(2) <= **size && weights.len() <= usize::from(**size));
    let quotas = |size: &u16| divide_slots(weights, *size);
    sizes
        .by_ref()
        .map(quotas)
        .find(|quotas| fits(weights, quotas))
        .unwrap_or_else(|| divide_slots(weights, SIZES[SIZES.len() - 1]))
}

/// Divides slots by weights, at least one for each: by the method of Huntington and Hill, with which no endpoint loses a
/// slot when another one leaves.
fn divide_slots(weights: &[u16], size: u16) -> Vec<u16> {
    let mut quotas = vec![1_u16; weights.len()];
    // weight² / (n (n + 1)) without rounding: the greatest claim gets the next slot, the first of equal ones.
    let claim = |weight: u16, n: u16| (u64::from(weight).pow(2), u64::from(n) * (u64::from(n) + 1));
    let exceeds = |one: (u64, u64), other: (u64, u64)| one.0 * other.1 > other.0 * one.1;
    for _ in weights.len()..usize::from(size) {
        let mut best = 0;
        for at in 1..weights.len() {
            if exceeds(claim(weights[at], quotas[at]), claim(weights[best], quotas[best])) {
                best = at;
            }
        }
        quotas[best] += 1;
    }
    quotas
}

fn fits(weights: &[u16], quotas: &[u16]) -> bool {
    let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let slots: f64 = quotas.iter().map(|quota| f64::from(*quota)).sum();
    weights.iter().zip(quotas).all(|(weight, quota)| {
        let share = f64::from(*weight) / total;
        (f64::from(*quota) / slots - share).abs() <= share * TOLERANCE
    })
}

/// Gives each endpoint its number of slots. The pairs with the best scores are first, so that most slots keep their
/// endpoint when another one comes or goes.
fn assign_slots(endpoints: &[&UdpEndpoint], mut quotas: Vec<u16>) -> Vec<usize> {
    let seeds: Vec<_> = endpoints.iter().map(|endpoint| Seed::new(endpoint)).collect();
    let size: usize = quotas.iter().copied().map(usize::from).sum();
    let score = |slot: usize, at: usize| (seeds[at].score(hash_number(slot as u64)), slot, at);
    let mut pairs: Vec<_> = (0..size)
        .flat_map(|slot| (0..seeds.len()).map(move |at| (slot, at)))
        .map(|(slot, at)| score(slot, at))
        .collect();
    pairs.sort_unstable_by(|one, other| {
        one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)).then(one.2.cmp(&other.2))
    });
    let mut slots = vec![None; size];
    for (_, slot, at) in pairs {
        if slots[slot].is_none() && quotas[at] > 0 {
            (slots[slot], quotas[at]) = (Some(at), quotas[at] - 1);
        }
    }
    // Each slot found an endpoint: the quotas add up to the size.
    slots.into_iter().flatten().collect()
}
