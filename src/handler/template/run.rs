//! A template's life: everything that waits becomes one look, and each look that finds something new one
//! file.

use super::{
    Printer, Template,
    batch::Batch,
    others::{self, Told},
    target::Staged,
};
use crate::{
    docker::{Engine, Roster, SwarmSaid},
    handler::{Work, mailbox::Letter},
    settings::Command,
};
use anyhow::{Context, Result, anyhow};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::{JoinError, JoinSet, spawn_blocking},
    time::{Instant, sleep_until},
};
use tracing::{debug, error, info, warn};

/// Letters that become one look, at most.
const MOST: usize = 10_000;
/// Until what could not be written is tried again, at first and at last.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What is remembered from look to look.
struct Looking {
    template: Arc<Template>,
    /// Away only while it works.
    printer: Option<Printer>,
    /// The template looks for what only a Swarm's manager knows.
    swarm: bool,
    batch: Batch,
    repeat: Option<Instant>,
    retry: Option<(Instant, Duration)>,
    /// What went wrong last: it is told once.
    wrong: Option<String>,
}

impl Template {
    pub async fn run(self, mut work: Work) {
        let once = work.command == Command::Once;
        let mut looking = Looking::new(self);
        let mut letters = Vec::new();
        let mut telling = JoinSet::new();
        loop {
            tokio::select! {
                count = work.mailbox.recv_many(&mut letters, MOST) => {
                    if count == 0 {
                        break;
                    }
                    looking.look(&work).await;
                    looking.again();
                    letters.drain(..).for_each(|letter: Letter| work.finished(&letter));
                }
                () = at(looking.repeat) => {
                    looking.repeat = None;
                    looking.look(&work).await;
                }
                () = at(looking.retry.map(|(when, _)| when)) => looking.look(&work).await,
                // Who is slow to take it holds up the next telling, and no look.
                () = at(looking.batch.due().map(Instant::from_std)), if !once && telling.is_empty() => {
                    telling.spawn(looking.tell(&work));
                }
                Some(told) = telling.join_next() => say(&work, told),
            }
        }
        // What was written is told, whatever time is left.
        while let Some(told) = telling.join_next().await {
            say(&work, told);
        }
        if looking.batch.due().is_some() {
            say(&work, Ok(looking.tell(&work).await));
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

impl Looking {
    fn new(template: Template) -> Self {
        Self {
            printer: Some(template.printer()),
            swarm: false,
            batch: Batch::new(template.interval),
            repeat: None,
            retry: None,
            wrong: None,
            template: Arc::new(template),
        }
    }

    fn again(&mut self) {
        let repeat = self.template.repeat;
        self.repeat = (!repeat.is_zero()).then(|| Instant::now() + repeat);
    }

    async fn look(&mut self, work: &Work) {
        let name = &work.handler.name;
        let target = self.template.target.path.display().to_string();
        match self.write(work).await {
            Ok(wrote) => {
                work.tally.succeed();
                self.retry = None;
                if self.wrong.take().is_some() {
                    info!(handler = name, "well again");
                }
                if wrote {
                    info!(handler = name, "wrote {target}");
                    self.batch.changed(Instant::now().into_std());
                }
            }
            Err(wrong) => {
                let failures = work.tally.fail();
                let text = format!("{:#}", wrong.error);
                if self.wrong.as_ref() == Some(&text) {
                    debug!(handler = name, failures, "{text}");
                } else {
                    error!(handler = name, failures, "{text}; {target} stays as it is");
                }
                self.wrong = Some(text);
                // A template is as wrong a second later.
                let pause = self.retry.map_or(RETRY.0, |(_, pause)| (pause * 2).min(RETRY.1));
                self.retry = wrong.passes.then(|| (Instant::now() + pause, pause));
            }
        }
    }

    /// Whether there was something to write.
    async fn write(&mut self, work: &Work) -> Result<bool, Wrong> {
        let text = self.render(work).await?;
        let template = Arc::clone(&self.template);
        let place = template.target.path.display().to_string();
        let unwritten = || format!("cannot write {place}");
        let staged = aside(move || template.target.stage(&text)).await.map_err(Wrong::passing)?;
        let staged = staged.with_context(unwritten).map_err(Wrong::passing)?;
        let Some(staged) = staged else { return Ok(false) };
        if let Some(words) = &self.template.check {
            let checked = others::run(&with_path(words, &staged)).await;
            checked.context("the new file is refused").map_err(Wrong::lasting)?;
        }
        let swapped = aside(move || staged.swap_in()).await.map_err(Wrong::passing)?;
        swapped.with_context(unwritten).map_err(Wrong::passing)?;
        Ok(true)
    }

    async fn render(&mut self, work: &Work) -> Result<String, Wrong> {
        let roster = Arc::clone(&work.roster.borrow());
        if !self.swarm {
            let (text, asked) = self.render_with(Arc::clone(&roster), None).await?;
            if !asked {
                return Ok(text);
            }
            self.swarm = true;
        }
        let engine = Engine::connect(&work.access).await.map_err(Wrong::passing)?;
        let swarm = engine.swarm().await.map_err(Wrong::passing)?;
        self.render_with(roster, swarm).await.map(|(text, _)| text)
    }

    /// And whether the template looked for a Swarm.
    async fn render_with(
        &mut self,
        roster: Arc<Roster>,
        swarm: Option<SwarmSaid>,
    ) -> Result<(String, bool), Wrong> {
        let again = || self.template.printer();
        let mut printer = self.printer.take().unwrap_or_else(again);
        let work = aside(move || {
            let text = printer.print(&roster, swarm.as_ref());
            (text, printer)
        });
        let (text, printer) = work.await.map_err(Wrong::lasting)?;
        self.printer = Some(printer);
        text.map_err(|fault| Wrong::lasting(anyhow!("{fault}")))
    }

    /// Tells the others, with nothing left to be told then.
    fn tell(&mut self, work: &Work) -> impl Future<Output = Told> + use<> {
        self.batch.told();
        let template = Arc::clone(&self.template);
        let roster = Arc::clone(&work.roster.borrow());
        let containers = self.printer.as_mut().map(|it| it.containers(&roster)).unwrap_or_default();
        let access = work.access.clone();
        async move { template.others.tell(&access, &containers).await }
    }
}

fn say(work: &Work, told: Result<Told, JoinError>) {
    let name = &work.handler.name;
    let Told { done, wrong } = told.unwrap_or_else(|error| Told::broken(&error));
    if !done.is_empty() {
        info!(handler = name, "{}", done.join(", "));
    }
    for error in wrong {
        let failures = work.tally.fail();
        warn!(handler = name, failures, "{error:#}");
    }
}

/// The new file's path in the place of `{}`, or at the end.
fn with_path(words: &[String], staged: &Staged) -> Vec<String> {
    let path = staged.path().display().to_string();
    let mut words = words.to_vec();
    match words.iter_mut().find(|word| word.contains("{}")) {
        Some(word) => *word = word.replace("{}", &path),
        None => words.push(path),
    }
    words
}

/// What takes a processor, or waits for a disk, has a thread of its own.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.context("rendering broke, which is a defect of docker-glue")
}

struct Wrong {
    error: anyhow::Error,
    /// It may be well again without an event.
    passes: bool,
}

impl Wrong {
    fn passing(error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), passes: true }
    }

    fn lasting(error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), passes: false }
    }
}
