//! Chooses the endpoint of a new flow: weighted rendezvous hashing.
//!
//! Pure. Each endpoint gets a score from a hash of its identifier and of the client, and the highest score wins. So an
//! endpoint that leaves moves only its own flows, an endpoint that comes takes over only its share, and no table is
//! needed for the choice to be the same after a restart and on another machine. The hash is SipHash-2-4 with a key of
//! zeros, the logarithm is libm's, which does not differ between machines.

use super::config::{Sticky, UdpEndpoint, UdpListener};
use siphasher::sip::SipHasher24;
use std::{
    hash::Hasher,
    net::{IpAddr, SocketAddr},
};

/// The endpoint of a new flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice<'a> {
    /// All datagrams of the flow go to this endpoint.
    Endpoint(&'a UdpEndpoint),
    /// Each datagram is distributed by itself, by the weights.
    Spread,
    /// No endpoint accepts new flows: the datagrams are dropped.
    Nobody,
}

/// Returns where a new flow of a client goes, unless an endpoint refuses its datagrams.
pub fn choose_endpoint(listener: &UdpListener, client: SocketAddr) -> Choice<'_> {
    let seeds: Vec<_> = listener.endpoints.iter().map(Seed::new).collect();
    let flow = match listener.sticky {
        Sticky::None if listener.endpoints.iter().any(UdpEndpoint::accepts_flows) => {
            return Choice::Spread;
        }
        Sticky::None | Sticky::Source => hash_source(client.ip()),
        Sticky::Flow => hash_flow(client),
    };
    let accepts = |at: usize| listener.endpoints[at].accepts_flows();
    pick_index(&seeds, flow, accepts)
        .map_or(Choice::Nobody, |at| Choice::Endpoint(&listener.endpoints[at]))
}

/// What the choice needs of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    hash: u64,
    weight: u16,
}

impl Seed {
    pub fn new(endpoint: &UdpEndpoint) -> Self {
        Self { hash: hash_bytes(endpoint.id.as_bytes()), weight: endpoint.weight }
    }

    /// Returns the endpoint's score, which is lower the better it is: an exponentially distributed value whose rate is
    /// the weight. The lowest of several such values belongs to each with the probability of its share of the weights.
    pub fn score(self, flow: u64) -> f64 {
        // The upper 53 bits, in the open interval from 0 to 1.
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
        let uniform = ((mix(self.hash ^ flow) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -libm::log(uniform) / f64::from(self.weight)
    }
}

/// Returns the position of the endpoint with the best score among those for which `usable` holds. An endpoint of weight
/// 0 is never chosen.
pub fn pick_index(seeds: &[Seed], flow: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
    let usable = (0..seeds.len()).filter(|at| seeds[*at].weight > 0 && usable(*at));
    let scores = usable.map(|at| (at, seeds[at].score(flow)));
    // Equal scores are decided by the identifier's hash, so that the order of the endpoints has no effect.
    let best = scores.min_by(|(a, one), (b, other)| {
        one.total_cmp(other).then(seeds[*a].hash.cmp(&seeds[*b].hash))
    });
    best.map(|(at, _)| at)
}

/// Returns the hash of a client's address and port.
pub fn hash_flow(client: SocketAddr) -> u64 {
    let mut hasher = SipHasher24::new();
    write_ip(&mut hasher, client.ip());
    hasher.write(&client.port().to_be_bytes());
    hasher.finish()
}

/// Returns the hash of a client's address.
pub fn hash_source(client: IpAddr) -> u64 {
    let mut hasher = SipHasher24::new();
    write_ip(&mut hasher, client);
    hasher.finish()
}

/// Returns the hash of the number of a datagram, for datagrams that are distributed by themselves.
pub fn hash_number(number: u64) -> u64 {
    hash_bytes(&number.to_be_bytes())
}

fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(bytes);
    hasher.finish()
}

/// An address of IPv4 that a socket of IPv6 reports is that address.
fn write_ip(hasher: &mut SipHasher24, ip: IpAddr) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => hasher.write(&ip.octets()),
        IpAddr::V6(ip) => hasher.write(&ip.octets()),
    }
}

/// The finalizer of MurmurHash3: each bit of the input affects each bit of the result.
fn mix(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}
