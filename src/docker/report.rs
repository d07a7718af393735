//! Tells handlers of everything that happens, for ever.
//!
//! The loop is thin: it listens, asks, and hands everything to `Keeper`, which decides.

use super::{
    connect::Access,
    engine::Engine,
    leaving::Leaving,
    lenient::{List, Oddities},
    ping::Ping,
    roster::{Keeper, News, Report, Roster, Told},
    watch::{log_return, tell_away, tell_odd, wait_out},
};
use crate::{container::ContainerId, outage::Outage};
use anyhow::{Context, Result};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, pin_mut, stream::FuturesUnordered};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// How often the whole list is asked for though no event asks for it.
const RELIST: Duration = Duration::from_secs(30);

/// Tells until nobody listens any more. An engine that is away is told of once and waited for without
/// an end; events that it remembers from that time are told then.
///
/// `bookmark` is where an earlier call has got to, which ended by a panic: it goes on behind the event of then.
pub async fn follow(access: &Access, news: &mpsc::Sender<News>, bookmark: &Bookmark) {
    let keeper = Keeper::after(bookmark.time());
    let (mut memory, mut outage) = (Memory { keeper, ..Memory::default() }, Outage::none());
    loop {
        let end = tokio::select! {
            end = connection(access, &mut memory, &mut outage, news, bookmark) => end,
            () = news.closed() => return,
        };
        let Err(error) = end else { return };
        memory.keeper.away();
        tokio::select! {
            () = wait_out(&mut outage, &error) => {}
            () = news.closed() => return,
        }
    }
}

/// All containers as they are now.
pub async fn take_roll(access: &Access) -> Result<Arc<Roster>> {
    let (tell, mut told) = mpsc::channel(1);
    let (mut memory, mut outage) = (Memory::default(), Outage::none());
    let bookmark = Bookmark::default();
    tokio::select! {
        end = connection(access, &mut memory, &mut outage, &tell, &bookmark) => match end {
            Err(error) => Err(error),
            Ok(()) => told.try_recv().ok().and_then(roster).context("docker told nothing"),
        },
        Some(news) = told.recv() => roster(news).context("docker told nothing"),
    }
}

/// The first news are all containers.
fn roster(news: News) -> Option<Arc<Roster>> {
    match news {
        News::Changed(roster) | News::Happened(_, roster) => Some(roster),
        News::Leaving(_) => None,
    }
}

/// The time of the event that was heard last, by the engine's clock: outlives a panic. A clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Bookmark(Arc<AtomicI64>);

impl Bookmark {
    fn put(&self, time_nano: i64) {
        self.0.store(time_nano, Ordering::Relaxed);
    }

    /// `None` before the first event.
    fn time(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|time| *time != 0)
    }
}

/// What outlives a connection.
#[derive(Debug, Default)]
struct Memory {
    keeper: Keeper,
    leaving: Leaving,
    oddities: Oddities,
}

/// All that can happen during a connection.
enum Input {
    Event(Option<Result<Report>>),
    List(Result<List<(ContainerId, String)>>),
    Answer(ContainerId, Told),
    Pinged(Result<()>),
    Time,
}

impl Input {
    /// The engine said something.
    fn is_heard(&self) -> bool {
        match self {
            Self::Event(report) => matches!(report, Some(Ok(_))),
            Self::List(lines) => lines.is_ok(),
            Self::Answer(_, told) => !matches!(told, Told::Nothing),
            Self::Pinged(answer) => answer.is_ok(),
            Self::Time => false,
        }
    }
}

/// One connection's life. It ends well when nobody listens any more.
async fn connection(
    access: &Access,
    Memory { keeper, leaving, oddities }: &mut Memory,
    outage: &mut Outage,
    news: &mpsc::Sender<News>,
    bookmark: &Bookmark,
) -> Result<()> {
    let engine = Engine::connect(access).await?;
    let reports = engine.reports(keeper.connected());
    pin_mut!(reports);
    let mut errands = FuturesUnordered::<BoxFuture<'static, Input>>::new();
    let mut list_at = Instant::now();
    let mut listing = false;
    let (mut ping, mut is_hung) = (Ping::new(), false);
    loop {
        while let Some(id) = keeper.ask() {
            let engine = engine.clone();
            errands.push(Box::pin(async move {
                let told = answer(&engine, &id).await;
                Input::Answer(id, told)
            }));
        }
        let late_at = leaving.wake_at().map(Instant::from_std);
        let input = tokio::select! {
            biased;
            // Its first poll subscribes: before the first question.
            report = reports.next() => Input::Event(report),
            Some(input) = errands.next() => input,
            () = tokio::time::sleep_until(late_at.unwrap_or(list_at)), if late_at.is_some() => Input::Time,
            () = tokio::time::sleep_until(list_at), if !listing => {
                listing = true;
                let engine = engine.clone();
                errands.push(Box::pin(async move { Input::List(engine.roll().await) }));
                continue;
            }
            () = ping.wait() => {
                errands.push(Box::pin(ping.send(&engine).map(Input::Pinged)));
                continue;
            }
        };
        let now = Instant::now().into_std();
        if input.is_heard() {
            ping.postpone();
            // What it was asked before it hung, it answers on the connection that there is.
            if std::mem::take(&mut is_hung)
                && let Some(away) = outage.over(now)
            {
                log_return(away);
            }
        }
        let mut others_leave = false;
        match input {
            Input::Event(report) => {
                let report = report.context("docker closed its events")??;
                bookmark.put(report.time_nano);
                if let Some(roster) = keeper.roster().filter(|_| !keeper.is_repeated(&report)) {
                    // Before anybody is asked: that may take as long as the stop does.
                    others_leave = leaving.heard(&report, roster, now);
                }
                keeper.heard(report);
                if let Some(step) = keeper.take_step_back() {
                    tracing::warn!(
                        "Docker's clock was set back by {}s; its events are told all the same",
                        step.as_secs()
                    );
                }
            }
            Input::Time => others_leave = leaving.late(now),
            Input::Pinged(answer) => {
                ping.end();
                if let Err(error) = answer {
                    is_hung = true;
                    tell_away(outage, &error);
                }
            }
            Input::List(lines) => {
                let List { entries, odd, .. } = lines?;
                oddities.add(odd.iter());
                oddities.take().iter().for_each(|odd| tell_odd(odd));
                keeper.listed(entries.into_iter().collect());
                (listing, list_at) = (false, Instant::now() + RELIST);
                if let Some(away) = outage.over(now) {
                    log_return(away);
                }
            }
            Input::Answer(id, told) => keeper.answered(&id, told),
        }
        let mut all = keeper.news();
        for it in &all {
            others_leave |= leaving.told(it);
        }
        if others_leave {
            all.push(News::Leaving(leaving.ids()));
        }
        for it in all {
            if news.send(it).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn answer(engine: &Engine, id: &ContainerId) -> Told {
    match engine.describe(id).await {
        Ok(Some(told)) => Told::Description(told),
        Ok(None) => Told::Gone,
        Err(error) => {
            tracing::debug!("not inspected: {error:#}");
            Told::Nothing
        }
    }
}
