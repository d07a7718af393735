//! A template's life: everything that waits becomes one look, and each look that finds something new one
//! file.

use super::{
    Printer, Template,
    batch::Batch,
    others::{self, Told},
    owed::{Given, Owed},
    target::{Staged, Written},
};
use crate::{
    docker::{Engine, Roster, SwarmSaid},
    handler::{Work, mailbox::Letter, state::State},
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
/// Who is still to be told, as it is kept on disk.
const OWED: &str = "owed";

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
    state: State,
    owed: Owed,
    /// What went wrong last with telling the others.
    untold: Option<String>,
    /// What was undefined last: as well.
    undefined: Option<String>,
    /// Who mounts the file on its own.
    mounted: Option<String>,
}

impl Template {
    pub async fn run(self, mut work: Work) {
        let once = work.command == Command::Once;
        let mut looking = Looking::new(self, &work).await;
        let mut from_before = looking.owed.given().is_some();
        let mut letters = Vec::new();
        let mut telling = JoinSet::new();
        loop {
            let is_free = !once && telling.is_empty();
            tokio::select! {
                count = work.mailbox.recv_many(&mut letters, MOST) => {
                    if count == 0 {
                        break;
                    }
                    looking.look(&work).await;
                    looking.again();
                    if std::mem::take(&mut from_before) {
                        looking.batch.changed(Instant::now().into_std());
                    }
                    letters.drain(..).for_each(|letter: Letter| work.finished(&letter));
                }
                () = at(looking.repeat) => {
                    looking.repeat = None;
                    looking.look(&work).await;
                }
                () = at(looking.retry.map(|(when, _)| when)) => looking.look(&work).await,
                // Who is slow to take it holds up the next telling, and no look.
                () = at(looking.due().map(Instant::from_std)), if is_free => {
                    telling.spawn(looking.tell(&work));
                }
                Some(told) = telling.join_next() => looking.told(&work, told).await,
            }
        }
        // What was written is told, whatever time is left.
        while let Some(told) = telling.join_next().await {
            looking.told(&work, told).await;
        }
        if looking.batch.due().is_some() {
            let told = looking.tell(&work).await;
            looking.told(&work, Ok(told)).await;
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
    async fn new(template: Template, work: &Work) -> Self {
        let state = State::new(&work.settings, &work.handler);
        let given = state.read::<Given>(OWED).await.filter(|_| !template.others.is_nobody());
        Self {
            state,
            owed: Owed::since_before(given),
            untold: None,
            printer: Some(template.printer()),
            swarm: false,
            batch: Batch::new(template.interval),
            repeat: None,
            retry: None,
            wrong: None,
            undefined: None,
            mounted: None,
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
            Ok(written) => {
                work.tally.succeed();
                self.retry = None;
                self.say_undefined(name);
                if self.wrong.take().is_some() {
                    info!(handler = name, "well again");
                }
                match written {
                    Written::Text => {
                        info!(handler = name, "wrote {target}");
                        self.batch.changed(Instant::now().into_std());
                    }
                    Written::Attributes => {
                        info!(handler = name, "gave {target} its mode and owner");
                    }
                    Written::Nothing => {}
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

    fn say_undefined(&mut self, name: &str) {
        let now = self.printer.as_ref().and_then(Printer::undefined).map(str::to_owned);
        if let Some(text) = now.as_ref().filter(|now| self.undefined.as_ref() != Some(now)) {
            warn!(handler = name, "{text}; nothing is written in its place");
        }
        self.undefined = now;
    }

    /// What there was to write.
    async fn write(&mut self, work: &Work) -> Result<Written, Wrong> {
        let text = self.render(work).await?;
        let template = Arc::clone(&self.template);
        let place = template.target.path.display().to_string();
        let unwritten = || format!("cannot write {place}");
        let staged = aside(move || template.target.stage(&text)).await.map_err(Wrong::passing)?;
        let staged = match staged.with_context(unwritten).map_err(Wrong::passing)? {
            Ok(staged) => staged,
            Err(written) => return Ok(written),
        };
        if let Some(words) = &self.template.check {
            let checked = others::run(&with_path(words, &staged)).await;
            checked.context("the new file is refused").map_err(Wrong::lasting)?;
        }
        self.owe().await;
        let swapped = if self.is_mounted(work, &staged) {
            aside(move || staged.write_in_place()).await
        } else {
            aside(move || staged.swap_in()).await
        };
        let swapped = swapped.map_err(Wrong::passing)?;
        swapped.with_context(unwritten).map_err(Wrong::passing)?;
        Ok(Written::Text)
    }

    /// On disk before the text is: after a crash in between the others are told all the same.
    async fn owe(&mut self) {
        if self.template.others.is_nobody() {
            return;
        }
        self.owed.new_text();
        if let Some(given) = self.owed.given() {
            self.state.write(OWED, given).await;
        }
    }

    /// When others are to be told: of a new text, else of what they could not be told before.
    fn due(&self) -> Option<std::time::Instant> {
        self.batch.due().or(self.owed.due())
    }

    /// Whether a container has it mounted on its own, which is said once.
    fn is_mounted(&mut self, work: &Work, staged: &Staged) -> bool {
        let roster = Arc::clone(&work.roster.borrow());
        let printer = self.printer.as_mut();
        let now = printer.and_then(|it| it.mounting(&roster, staged.place()));
        if let Some(name) = now.as_ref().filter(|now| self.mounted.as_ref() != Some(now)) {
            let target = self.template.target.path.display();
            warn!(
                handler = work.handler.name,
                "{name} mounts {target} on its own, and would go on seeing the old file: it is written in place; \
                 mount its folder, so that nobody ever sees half of it"
            );
        }
        self.mounted = now;
        self.mounted.is_some()
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
        let debt = self.owed.debt();
        async move { template.others.tell(&access, &containers, debt).await }
    }

    /// Says what was done and what was not, which is told again later.
    async fn told(&mut self, work: &Work, told: Result<Told, JoinError>) {
        let handler = &work.handler.name;
        let Told { done, wrong, debt } = told.unwrap_or_else(|error| self.broken(&error));
        if !done.is_empty() {
            info!(handler, "{}", done.join(", "));
        }
        if wrong.is_empty() {
            if self.owed.settled(&debt) {
                self.state.remove(OWED).await;
                if self.untold.take().is_some() {
                    info!(handler, "all have been told now");
                }
            }
            return;
        }
        let again = match self.owed.failed(debt, Instant::now().into_std()) {
            _ if work.command == Command::Once => "the next run tries again".to_owned(),
            Some(pause) => format!("trying again in {}s", pause.as_secs()),
            None => "a newer text is told next".to_owned(),
        };
        if let Some(given) = self.owed.given() {
            self.state.write(OWED, given).await;
        }
        let all: Vec<_> = wrong.iter().map(|error| format!("{error:#}")).collect();
        let text = all.join("; ");
        let mut failures = 0;
        for _ in &all {
            failures = work.tally.fail();
        }
        if self.untold.as_ref() == Some(&text) {
            debug!(handler, failures, "{text}; {again}");
        } else {
            for error in &all {
                warn!(handler, failures, "{error}; {again}");
            }
        }
        self.untold = Some(text);
    }

    fn broken(&self, error: &JoinError) -> Told {
        let wrong = vec![anyhow!("telling broke, which is a defect of docker-glue: {error}")];
        Told { wrong, ..Told::new(self.owed.debt()) }
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
