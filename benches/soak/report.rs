//! The results, for people and as one line of JSON.

use crate::{
    alone::{Case, Count},
    balancer::{Balancer, Workers},
    chaos::{Activity, Chaos},
    crowd::{End, Fate},
    entry::Protocol,
    http::Failure,
    load::{Ended, Kind, LONG, Measured, Odd},
    stream::{StreamKind, StreamLoss},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::{BufRead, BufReader},
    time::Duration,
};
use tokio::time::Instant;

/// An error is attributed to activities that ended up to this long before.
const AFTERMATH: Duration = Duration::from_secs(2);
/// A websocket may end a little before the engine reports its container's end.
const EARLY: Duration = Duration::from_millis(500);
const EXAMPLES: usize = 12;

/// Contents of the logs of HAProxy and the balancer.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    /// Lines of failed or slow requests, by path.
    lines: HashMap<String, Line>,
    /// Sessions by termination state and status, except normal ones.
    states: BTreeMap<String, u64>,
    retries: u64,
    redispatched: u64,
    reloads: Vec<String>,
    complaints: Vec<String>,
}

#[derive(Debug)]
struct Line {
    container: String,
    text: String,
}

pub(crate) struct Report<'a> {
    pub(crate) chaos: &'a Chaos,
    pub(crate) measured: Measured,
    pub(crate) logs: Logs,
    pub(crate) before: Workers,
    pub(crate) after: Workers,
    pub(crate) took: Duration,
}

struct Goal {
    name: &'static str,
    requests: u64,
    found: u64,
}

impl Logs {
    pub(crate) fn read(balancer: &Balancer, measured: &Measured) -> Self {
        let texts: BTreeSet<&str> = measured.odd.iter().map(|odd| odd.path.as_str()).collect();
        let mut logs = Self::default();
        for line in log_lines(balancer, "access.log") {
            logs.access(&texts, &line);
        }
        for line in log_lines(balancer, "balancer.log") {
            if let Some((_, why)) = line.split_once("reloaded HAProxy: ") {
                logs.reloads.push(why.to_owned());
            }
            // HAProxy logs this for every service that is removed.
            let usual = line.contains("has no server available");
            if !usual && (line.contains(" WARN ") || line.contains("ERROR ")) {
                logs.complaints.push(line);
            }
        }
        logs
    }

    fn access(&mut self, texts: &BTreeSet<&str>, text: &str) {
        let words: Vec<_> = text.split(' ').take(12).collect();
        let [_, _, _, place, _, status, _, _, _, state, counts, _] = words[..] else { return };
        if let Some(retries) = counts.rsplit('/').next().filter(|retries| *retries != "0") {
            self.retries += 1;
            self.redispatched += u64::from(retries.starts_with('+'));
        }
        if state != "----" {
            *self.states.entry(format!("{state} {status}")).or_default() += 1;
        }
        let target = text.split('"').nth(1).and_then(|request| request.split(' ').nth(1));
        if let Some(path) = target.map(path_of).filter(|path| texts.contains(path)) {
            let server = place.split_once('/').map_or("", |(_, server)| server);
            let container = server.rsplit_once('-').map_or(server, |(name, _)| name).to_owned();
            self.lines.insert(path.to_owned(), Line { container, text: text.to_owned() });
        }
    }
}

/// Returns the path of a request's target, which is a URL in HTTP/2.
fn path_of(target: &str) -> &str {
    let Some((_, remainder)) = target.split_once("://") else { return target };
    remainder.find('/').map_or("/", |slash| &remainder[slash..])
}

fn log_lines(balancer: &Balancer, name: &str) -> impl Iterator<Item = String> {
    let lines = File::open(balancer.log(name)).map(|file| BufReader::new(file).lines());
    lines.into_iter().flatten().map_while(Result::ok)
}

impl Report<'_> {
    pub(crate) fn print(self) {
        let goals = self.goals();
        self.print_load();
        self.print_protocols();
        self.print_streams();
        self.print_errors();
        self.print_latencies();
        self.print_alone();
        self.print_figures();
        println!("\n{:<72} {:>6} {:>8}", "goal", "asked", "found");
        for Goal { name, requests, found } in &goals {
            let missed = if found == requests { "" } else { "  MISSED" };
            println!("{name:<72} {requests:>6} {found:>8}{missed}");
        }
        println!("\n{}", self.json(&goals));
    }

    fn print_load(&self) {
        let Measured { latencies, lags, .. } = &self.measured;
        let story = self.chaos.story.borrow();
        println!(
            "{:.0} s; containers started in {}",
            self.took.as_secs_f64(),
            format_spread(&self.chaos.crowd.starts.borrow())
        );
        for (doing, count) in &story.counts {
            println!("{doing:<40} {count:>8}");
        }
        println!("{:<40} {:>8}", "of the rolls, drained before the stop", story.drained);
        println!("\n{:<40} {:>8} {:>8}", "load", "sent", "lost");
        for (kind, sent) in self.count_requests(|(_, kind)| *kind) {
            let lost = self.count_lost(|odd| odd.kind == kind);
            println!("{kind:<40} {sent:>8} {lost:>8}");
        }
        println!("{:<40} {:>8}", "websocket echoes", self.measured.echoes);
        let all = latencies.values().flatten().copied().collect::<Vec<_>>();
        println!("{:<40} {}", "latency of the constant arrivals", format_spread(&all));
        println!("{:<40} {}", "of that, the generator's own lag", format_spread(lags));
    }

    fn print_protocols(&self) {
        let requests = self.count_requests(|(protocol, _)| *protocol);
        println!(
            "\n{:<40} {:>8} {:>8}  latency of the constant arrivals",
            "protocol", "sent", "lost"
        );
        for protocol in Protocol::ALL {
            let sent = requests.get(&protocol).copied().unwrap_or_default();
            let lost = self.count_lost(|odd| odd.protocol == protocol);
            let spread = format_spread(self.latencies(protocol));
            println!("{protocol:<40} {sent:>8} {lost:>8}  {spread}");
        }
        let received = self.chaos.entry.count_certificates();
        println!("{:<40} {received:>8}", "certificates that clients received");
    }

    fn print_streams(&self) {
        let streams = &self.measured.streams;
        println!("\n{:<40} {:>8} {:>8} {:>8}", "TCP and UDP", "sent", "lost", "at kills");
        for (kind, sent) in &streams.sent {
            let lost = || streams.lost.iter().filter(|loss| loss.kind == *kind);
            let at_kills = lost().filter(|loss| self.is_at_kill(loss)).count();
            let spread = streams.latencies.get(kind).map(|samples| format_spread(samples));
            let spread = spread.unwrap_or_default();
            println!("{kind:<40} {sent:>8} {:>8} {at_kills:>8}  {spread}", lost().count());
        }
        for loss in streams.lost.iter().filter(|loss| !self.is_at_kill(loss)).take(EXAMPLES) {
            println!("  {}: {} of {}", loss.kind, loss.why, loss.container);
        }
    }

    /// Whether a container was killed at about that time: that of the connection or flow, if it is known.
    fn is_at_kill(&self, loss: &StreamLoss) -> bool {
        self.kill_of(loss).is_some()
    }

    /// Returns the time of that kill.
    fn kill_of(&self, loss: &StreamLoss) -> Option<Instant> {
        let ends = self.chaos.crowd.ends.borrow();
        let is_near = |end: &&End| {
            end.fate == Fate::Killed
                && end.at <= loss.at + AFTERMATH
                && loss.at <= end.at + AFTERMATH
        };
        // A connection that was not answered has no name; nor has a flow that moved just then.
        let of_container = ends.get(&loss.container).filter(is_near);
        let any = || ends.values().find(is_near);
        let is_named = !loss.container.is_empty() && !loss.kind.is_datagram();
        if is_named { of_container } else { of_container.or_else(any) }.map(|end| end.at)
    }

    /// Returns the datagrams that were lost at kills beyond one for each flow and kill.
    fn datagrams_beyond_one(&self) -> u64 {
        let streams = &self.measured.streams;
        let flows = streams.lost.iter().filter(|loss| loss.kind == StreamKind::Datagram);
        let mut seen = BTreeSet::new();
        flows
            .filter_map(|loss| Some((loss.client, self.kill_of(loss)?)))
            .filter(|at| !seen.insert(*at))
            .count() as u64
    }

    fn streams_json(&self) -> BTreeMap<String, serde_json::Value> {
        let streams = &self.measured.streams;
        let row = |(kind, sent): (&StreamKind, &u64)| {
            let lost = streams.lost.iter().filter(|loss| loss.kind == *kind);
            let (at_kills, others): (Vec<_>, Vec<_>) = lost.partition(|loss| self.is_at_kill(loss));
            let ms = streams.latencies.get(kind).map(|samples| spread_json(samples));
            let row = json!({"sent": sent, "lost": others.len(), "lost_at_kills": at_kills.len(), "answer_ms": ms});
            (format!("{kind:?}"), row)
        };
        streams.sent.iter().map(row).collect()
    }

    /// Returns the number of requests by a part of their kind.
    fn count_requests<K: Ord>(&self, key: impl Fn(&(Protocol, Kind)) -> K) -> BTreeMap<K, u64> {
        self.measured.requests.iter().fold(BTreeMap::new(), |mut counts, (both, count)| {
            *counts.entry(key(both)).or_default() += count;
            counts
        })
    }

    fn count_lost(&self, is_counted: impl Fn(&Odd) -> bool) -> usize {
        self.odd().filter(|odd| odd.failure.is_some() && is_counted(odd)).count()
    }

    fn latencies(&self, protocol: Protocol) -> &[u32] {
        self.measured.latencies.get(&protocol).map_or(&[], Vec::as_slice)
    }

    fn print_errors(&self) {
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        for odd in self.odd() {
            *kinds.entry(self.class(odd)).or_default() += 1;
        }
        println!(
            "\n{:<96} {:>6}",
            "lost or longer than 1 s: request, how, its container, meanwhile", ""
        );
        for (kind, count) in &kinds {
            println!("{kind:<96} {count:>6}");
        }
        let mut shown: BTreeMap<String, usize> = BTreeMap::new();
        for odd in self.odd() {
            let seen = shown.entry(self.class(odd)).or_default();
            *seen += 1;
            if *seen <= 2 && shown.len() <= EXAMPLES {
                let text = self
                    .logs
                    .lines
                    .get(&odd.path)
                    .map_or("not in the access log", |writer| &writer.text);
                let Odd { protocol, kind, path, after, .. } = odd;
                println!("  {protocol}: {kind} {path} after {after:?}: {text}");
            }
        }
    }

    fn print_latencies(&self) {
        println!("\n{:<64} {:>8} {:>8} {:>8} {:>4}", "latency in ms", "p50", "p99", "max", "n");
        for (channel, samples) in &self.chaos.story.borrow().latencies {
            let [p50, p99, max] = [50, 99, 100].map(|rank| to_millis(percentile(samples, rank)));
            println!("{channel:<64} {p50:>8.1} {p99:>8.1} {max:>8.1} {:>4}", samples.len());
        }
    }

    fn print_alone(&self) {
        println!("\n{:<48} {:>8} {:>8}", "the only container of a route", "sent", "lost");
        for (case, Count { sent, lost }) in &self.chaos.story.borrow().alone {
            println!("{case:<48} {sent:>8} {lost:>8}");
        }
    }

    /// Prints the losses that no proxy can prevent, separately from the goals.
    fn print_figures(&self) {
        let lost = || self.odd().filter(|odd| odd.failure.is_some() && self.fate(odd).is_some());
        let posts = lost().filter(|odd| !odd.kind.is_idempotent());
        let (short, slow): (Vec<_>, Vec<_>) = posts.partition(|odd| odd.kind.is_short());
        println!(
            "\nlost with a container that was stopped or killed: {} POSTs, {} slow uploads; {} answers \
             were cut when half sent",
            short.len(),
            slow.len(),
            self.odd().filter(|odd| self.is_half_sent(odd)).count()
        );
        let late = |odd: &&Odd| LONG < odd.after && LONG / 2 < odd.lag;
        println!(
            "requests longer than 1 s that the client began late itself: {}",
            self.odd().filter(late).count()
        );
        let Logs { states, retries, redispatched, reloads, complaints, .. } = &self.logs;
        println!("\nsessions with retries {retries}, given to another container {redispatched}");
        println!("termination states other than ----: {states:?}");
        println!(
            "reloads: {reloads:?}; websockets lost: {:?}",
            count_words(self.sockets().map(|ended| ended.why.clone()))
        );
        println!("never served: {:?}", self.chaos.story.borrow().never_served);
        for complaint in complaints.iter().take(EXAMPLES) {
            println!("  {complaint}");
        }
    }

    fn goals(&self) -> Vec<Goal> {
        let count = |desired: &dyn Fn(&Odd) -> bool| {
            self.odd().filter(|odd| odd.failure.is_some() && desired(odd)).count() as u64
        };
        let fate = |odd: &Odd| self.fate(odd);
        let goal = |name, n, found| Goal { name, requests: n, found };
        vec![
            goal(
                "drains that succeeded",
                self.chaos.story.borrow().drains,
                self.chaos.story.borrow().drained,
            ),
            goal(
                "requests lost whose container was drained",
                0,
                count(&|engine| fate(engine) == Some(Fate::Drained)),
            ),
            goal(
                "idempotent requests lost (less answers cut while half sent)",
                0,
                count(&|engine| engine.kind.is_idempotent() && !self.is_half_sent(engine)),
            ),
            goal(
                "POSTs lost whose container was neither stopped nor killed",
                0,
                count(&|engine| !engine.kind.is_idempotent() && fate(engine).is_none()),
            ),
            goal(
                "requests lost whose only container was restarted or recreated",
                0,
                self.alone(&[
                    Case::Restarted,
                    Case::RecreatedByComposeOne,
                    Case::RecreatedByComposeTwo,
                ]),
            ),
            goal(
                "requests lost whose only container was stopped and served on",
                self.alone(&[Case::StoppedQueriedDirectly]),
                self.alone(&[Case::Stopped]),
            ),
            goal("requests that were not sent for want of a free client", 0, self.measured.unsent),
            goal(
                "requests longer than 1 s",
                0,
                self.odd()
                    .filter(|odd| {
                        LONG < odd.after && odd.kind.is_short() && odd.kind != Kind::Probe
                    })
                    .count() as u64,
            ),
            goal(
                "websockets lost other than by their own container's end",
                0,
                self.sockets().count() as u64,
            ),
            goal("short TCP connections lost", 0, self.lost_streams(StreamKind::Short)),
            goal(
                "long TCP connections cut other than by the kill of their container",
                0,
                self.lost_streams(StreamKind::Long),
            ),
            goal(
                "TCP connections to the unchanged service cut",
                0,
                self.lost_streams(StreamKind::Open),
            ),
            goal(
                "datagrams lost other than at kills",
                0,
                self.lost_streams(StreamKind::Datagram) + self.lost_streams(StreamKind::Query),
            ),
            goal(
                "datagrams lost at kills beyond one for each flow",
                0,
                self.datagrams_beyond_one(),
            ),
            goal(
                "datagrams to the unchanged service lost, or from another source",
                0,
                self.lost_streams(StreamKind::StillDatagram) + self.measured.streams.moved,
            ),
            goal(
                "reloads after the first start",
                0,
                (self.logs.reloads.len() as u64).max(self.after.reloads - self.before.reloads),
            ),
            goal("worker processes at the end", 1, self.after.workers as u64),
            goal(
                "containers that were never served",
                0,
                self.chaos.story.borrow().never_served.len() as u64,
            ),
            goal(
                "renewed certificates that clients did not receive",
                0,
                self.chaos.story.borrow().never_received as u64,
            ),
        ]
    }

    /// Returns how many were lost. Without a name in its greeting, a short connection counts whatever was killed.
    fn lost_streams(&self, kind: StreamKind) -> u64 {
        let lost = self.measured.streams.lost.iter().filter(|loss| loss.kind == kind);
        let is_counted = |loss: &&StreamLoss| {
            let unnamed = kind == StreamKind::Short && loss.container.is_empty();
            unnamed || !self.is_at_kill(loss)
        };
        lost.filter(is_counted).count() as u64
    }

    /// Returns the number of requests that were lost in these cases.
    fn alone(&self, cases: &[Case]) -> u64 {
        let story = self.chaos.story.borrow();
        cases.iter().filter_map(|case| story.alone.get(case)).map(|count| count.lost).sum()
    }

    fn odd(&self) -> impl Iterator<Item = &Odd> {
        self.measured.odd.iter()
    }

    /// Returns how the request's container ended, if it ended before the answer was complete.
    fn fate(&self, odd: &Odd) -> Option<Fate> {
        let ends = self.chaos.crowd.ends.borrow();
        let Some(line) = self.logs.lines.get(&odd.path) else { return unlogged(odd, &ends) };
        let end = ends.get(&line.container)?;
        (end.at <= odd.at + odd.after + EARLY).then_some(end.fate)
    }

    fn is_half_sent(&self, odd: &Odd) -> bool {
        let dropped = matches!(self.fate(odd), Some(Fate::Killed | Fate::Undrained));
        odd.failure == Some(Failure::Cut) && dropped
    }

    fn class(&self, odd: &Odd) -> String {
        let how = odd.failure.map_or("1 s".to_owned(), |failure| failure.to_string());
        let container = match self.fate(odd) {
            Some(fate) if !self.logs.lines.contains_key(&odd.path) => {
                format!("just {fate}, not logged")
            }
            Some(fate) => fate.to_string(),
            None if !self.logs.lines.contains_key(&odd.path) => "not logged".to_owned(),
            None => "there".to_owned(),
        };
        let story = self.chaos.story.borrow();
        let end = odd.at + odd.after;
        let during =
            story.spans.iter().filter(|span| span.from <= end && odd.at <= span.to + AFTERMATH);
        let during: BTreeSet<_> = during.map(|span| span.doing.short()).collect();
        let during = during.into_iter().collect::<Vec<_>>().join(" ");
        format!("{}, {}, {how}, {container}, {during}", odd.protocol, odd.kind)
    }

    /// Returns the lost websockets whose own container had not ended.
    fn sockets(&self) -> impl Iterator<Item = &Ended> {
        let ends = self.chaos.crowd.ends.borrow().clone();
        self.measured.ended.iter().filter(move |ended| {
            ends.get(&ended.whoami).is_none_or(|end| ended.at + EARLY < end.at)
        })
    }

    fn protocols_json(&self) -> BTreeMap<String, serde_json::Value> {
        let sent = self.count_requests(|(protocol, _)| *protocol);
        let row = |protocol: Protocol| {
            let lost = self.count_lost(|odd| odd.protocol == protocol);
            let ms = spread_json(self.latencies(protocol));
            json!({"sent": sent.get(&protocol), "lost": lost, "answer_ms": ms})
        };
        Protocol::ALL.map(|protocol| (format!("{protocol:?}"), row(protocol))).into()
    }

    fn json(&self, goals: &[Goal]) -> serde_json::Value {
        let story = self.chaos.story.borrow();
        let latencies: BTreeMap<_, _> = story
            .latencies
            .iter()
            .map(|(channel, samples)| (format!("{channel:?}"), spread_json(samples)))
            .collect();
        let all = self.measured.latencies.values().flatten().copied().collect::<Vec<_>>();
        let done: BTreeMap<_, _> =
            story.counts.iter().map(|(doing, count)| (format!("{doing:?}"), count)).collect();
        json!({
            "seconds": self.took.as_secs(),
            "done": done,
            "drained": story.drained,
            "requests": self.count_requests(|(_, kind)| format!("{kind:?}")),
            "protocols": self.protocols_json(),
            "streams": self.streams_json(),
            "certificates": self.chaos.entry.count_certificates(),
            "odd": count_words(self.odd().map(|odd| self.class(odd))),
            "answer_ms": spread_json(&all),
            "lag_ms": spread_json(&self.measured.lags),
            "latency_ms": latencies,
            "retried": self.logs.retries,
            "redispatched": self.logs.redispatched,
            "goals": goals.iter().map(|goal| (goal.name, goal.found)).collect::<BTreeMap<_, _>>(),
            "missed": goals.iter().filter(|goal| goal.found != goal.requests).map(|goal| goal.name).collect::<Vec<_>>(),
        })
    }
}

impl Activity {
    fn short(self) -> &'static str {
        match self {
            Self::Rolling => "roll",
            Self::Scaling => "scale",
            Self::Killing => "kill",
            Self::Others => "others",
            Self::Restarting => "restart",
            Self::Latency => "latency",
            Self::Alone => "alone",
            Self::Renewing => "renew",
        }
    }
}

/// HAProxy closes a keep-alive connection without an answer and without a log line if the container closes its own
/// keep-alive connection just as a request is sent on it. A stream of HTTP/2 is reset in the same way, whatever the
/// request. The container is then known only by the time of its end.
fn unlogged(odd: &Odd, ends: &BTreeMap<String, End>) -> Option<Fate> {
    let is_kept = matches!(odd.kind, Kind::GetKept | Kind::PostKept);
    let kept = is_kept || odd.protocol == Protocol::Http2;
    let closed = kept && odd.failure == Some(Failure::Reset);
    let just_then = |end: &&End| end.at <= odd.at + odd.after && odd.at <= end.at + EARLY;
    ends.values().find(just_then).map(|end| end.fate).filter(|_| closed)
}

fn count_words(words: impl Iterator<Item = String>) -> BTreeMap<String, u64> {
    words.fold(BTreeMap::new(), |mut counts, word| {
        *counts.entry(word).or_default() += 1;
        counts
    })
}

fn format_spread(samples: &[u32]) -> String {
    let [p50, p99, max] = [50, 99, 100].map(|rank| to_millis(percentile(samples, rank)));
    format!("p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms")
}

fn spread_json(samples: &[u32]) -> serde_json::Value {
    let [p50, p99, max] = [50, 99, 100].map(|rank| to_millis(percentile(samples, rank)));
    json!({"p50": p50, "p99": p99, "max": max, "n": samples.len()})
}

fn percentile(samples: &[u32], rank: usize) -> u32 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let n = (sorted.len() * rank).div_ceil(100).saturating_sub(1);
    sorted.get(n).copied().unwrap_or_default()
}

fn to_millis(us: u32) -> f64 {
    f64::from(us) / 1000.0
}
