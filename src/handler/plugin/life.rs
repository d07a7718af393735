//! A plugin's process, from its start to its end.

use super::{
    Plugin,
    said::{self, Said},
};
use crate::handler::{
    Work,
    child::{self, Group, Lines},
    in_order::Rest,
    mailbox::Letter,
    missed::Remembering,
    script::{called, why},
    tally::Tally,
};
use std::{io, process::ExitStatus, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStdin, ChildStdout},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tracing::{error, info, warn};

/// What is kept of a line that may be an answer, in bytes.
const ANSWER: usize = 64 * 1024;
/// For the last words of one that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// For one that is to end.
const END: Duration = Duration::from_secs(5);

/// Why a process is no more of use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("cannot be started: {0}")]
    Start(String),
    #[error("not ready after {0:?}: killed, with all that it had started")]
    NotReady(Duration),
    #[error("no answer after {0:?}: killed, with all that it had started")]
    Late(Duration),
    #[error("it ended: {}", child::reason(*.0))]
    Ended(ExitStatus),
    #[error("it closed its standard output: killed, with all that it had started")]
    Closed,
    #[error("lost sight of it: {0}")]
    Io(#[from] io::Error),
}

/// An end that nobody asked for, and the event that it came over.
#[derive(Debug)]
pub(super) struct Death {
    pub(super) why: Failure,
    pub(super) event: Option<String>,
    pub(super) container: Option<String>,
}

impl Death {
    pub(super) fn count(&self, tally: &Tally) -> u64 {
        match self.why {
            Failure::Late(_) | Failure::NotReady(_) => tally.time_out(),
            _ => tally.fail(),
        }
    }
}

impl From<Failure> for Death {
    fn from(why: Failure) -> Self {
        Self { why, event: None, container: None }
    }
}

#[derive(Debug)]
pub(super) struct Life<'a> {
    plugin: &'a Plugin,
    work: &'a Work,
    remembering: Remembering<'a>,
    /// It has answered at least once.
    pub(super) went_well: bool,
}

impl<'a> Life<'a> {
    pub(super) fn new(plugin: &'a Plugin, work: &'a Work) -> Self {
        Self { plugin, work, remembering: Remembering::new(work), went_well: false }
    }

    /// Until the mailbox ends, which is well, or the process.
    pub(super) async fn run(&mut self, rest: &mut Rest<'_>) -> Result<(), Death> {
        let handler = &self.work.handler.name;
        let mut process = Process::start(self.plugin, self.work)?;
        let limit = self.plugin.timeout;
        let Ok(ready) = timeout(limit, process.answer(None)).await else {
            process.kill().await;
            return Err(Failure::NotReady(limit).into());
        };
        ready?;
        info!(handler, "ready, as process {}", process.group.id());
        loop {
            tokio::select! {
                // One that has ended is told of nothing.
                biased;
                said = process.said() => process.log(&said?),
                letter = rest.recv() => {
                    let Some(letter) = letter else { break };
                    rest.taken = 1;
                    let end = self.handle(&mut process, &letter).await;
                    rest.taken = 0;
                    end?;
                }
            }
        }
        process.stop().await;
        Ok(())
    }

    async fn handle(&mut self, process: &mut Process, letter: &Letter) -> Result<(), Death> {
        let (handler, event, container) =
            (&self.work.handler.name, letter.action(), called(letter));
        let (began, limit) = (Instant::now(), self.plugin.timeout);
        self.remembering.before(letter).await;
        let line = said::event(letter);
        let answer = timeout(limit, process.answer(Some(&line))).await;
        if answer.is_err() {
            process.kill().await;
        }
        self.remembering.after(letter).await;
        self.work.finished(letter);
        let took = format!("{:.1?}", began.elapsed());
        match answer.unwrap_or(Err(Failure::Late(limit))) {
            Ok(Said::Failed(why)) => {
                self.went_well = true;
                let failures = self.work.tally.fail();
                error!(handler, event, container, took, failures, "{why}");
            }
            Ok(_) => {
                self.went_well = true;
                self.work.tally.succeed();
                info!(handler, event, container, took, "done");
            }
            Err(why) => return Err(Death { why, event: Some(event.to_owned()), container }),
        }
        Ok(())
    }
}

struct Process {
    handler: String,
    group: Group,
    input: Option<ChildStdin>,
    output: Lines<ChildStdout>,
    /// Until its last words were waited for.
    errors: Option<JoinHandle<()>>,
    /// How it has ended, and until when its last words are waited for.
    ended: Option<(ExitStatus, Instant)>,
}

impl Process {
    fn start(plugin: &Plugin, work: &Work) -> Result<Self, Failure> {
        let cannot = |error: io::Error| Failure::Start(why(&plugin.program, &error));
        let mut group = Group::start(&mut plugin.command(work)).map_err(cannot)?;
        let pipes =
            (group.child.stdin.take(), group.child.stdout.take(), group.child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            return Err(Failure::Start("it has no standard input and output".into()));
        };
        let handler = work.handler.name.clone();
        let errors = Some(tokio::spawn(child::log(errors, handler.clone(), None)));
        let output = Lines::of(output, ANSWER);
        Ok(Self { handler, group, input: Some(input), output, errors, ended: None })
    }

    /// Says it, if there is something to be said, and waits for the answer.
    async fn answer(&mut self, line: Option<&str>) -> Result<Said, Failure> {
        let mut input = self.input.take();
        // What cannot be written was for one that has ended: that shows.
        let tell = async {
            if let (Some(line), Some(input)) = (line, &mut input) {
                let _ = input.write_all(line.as_bytes()).await;
            }
        };
        let said = child::beside(self.until_answered(line.is_none()), tell).await?;
        self.input = input;
        Ok(said)
    }

    async fn until_answered(&mut self, to_be_ready: bool) -> Result<Said, Failure> {
        loop {
            let line = self.said().await?;
            match Said::read(&line) {
                Said::Ready if to_be_ready => return Ok(Said::Ready),
                answer @ (Said::Done | Said::Failed(_)) if !to_be_ready => return Ok(answer),
                _ => self.log(&line),
            }
        }
    }

    /// The next line. Nothing is lost where this is given up halfway.
    async fn said(&mut self) -> Result<String, Failure> {
        loop {
            if let Some((status, until)) = self.ended {
                if let Ok(Some(line)) = timeout_at(until, self.output.next()).await {
                    return Ok(line);
                }
                self.last_words().await;
                return Err(Failure::Ended(status));
            }
            tokio::select! {
                biased;
                line = self.output.next() => {
                    let Some(line) = line else { break };
                    return Ok(line);
                }
                status = self.group.ended() => {
                    self.ended = Some((status?, Instant::now() + LAST_WORDS));
                }
            }
        }
        // It says no more, most often since it ends.
        if let Ok(status) = timeout(LAST_WORDS, self.group.ended()).await {
            self.last_words().await;
            return Err(Failure::Ended(status?));
        }
        self.kill().await;
        Err(Failure::Closed)
    }

    fn log(&self, line: &str) {
        let handler = &self.handler;
        if Said::read(line) == Said::Other {
            info!(handler, "{line}");
        } else {
            warn!(handler, "an answer that nobody waits for: {line}");
        }
    }

    async fn kill(&mut self) {
        self.group.kill().await;
        self.last_words().await;
    }

    async fn last_words(&mut self) {
        if let Some(errors) = self.errors.take() {
            let _ = timeout(LAST_WORDS, errors).await;
        }
    }

    /// The end of its input asks it to end.
    async fn stop(&mut self) {
        drop(self.input.take());
        let last = async {
            while let Ok(line) = self.said().await {
                self.log(&line);
            }
        };
        if timeout(END, last).await.is_err() {
            let handler = &self.handler;
            warn!(handler, "it does not end by itself, {END:?} after its input ended: killed");
            self.kill().await;
        }
    }
}
