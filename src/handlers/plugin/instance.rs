//! The process of a plugin, from its start to its end.

use super::{
    Plugin,
    protocol::{self, PluginOutput},
};
use crate::handlers::{
    HandlerContext,
    certificate_tracker::{record_delivery, record_unsubscribed},
    mailbox::HandlerMessage,
    missed_events::DeliveryRecorder,
    ordered_queue::PendingMessages,
    process_group::{self, BoundedLines, ProcessGroup},
    script::{certificate_id, container_with_id, start_error},
    stats::HandlerStats,
};
use std::{io, process::ExitStatus, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStdin, ChildStdout},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tracing::{error, info, warn};

/// How many bytes of a line that may be an answer are kept.
const MAX_REPLY_BYTES: usize = 64 * 1024;
/// How long to wait for the remaining output of a plugin that has exited.
const STDERR_GRACE: Duration = Duration::from_secs(1);
/// How long a plugin may take to exit when its input is closed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a process cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginError {
    #[error("cannot start: {0}")]
    Start(String),
    #[error("not ready after {0:?}; killed with all its child processes")]
    NotReady(Duration),
    #[error("no answer after {0:?}; killed with all its child processes")]
    TimedOut(Duration),
    #[error("the plugin exited: {}", process_group::exit_reason(*.0))]
    Exited(ExitStatus),
    #[error("the plugin closed its standard output; killed with all its child processes")]
    OutputClosed,
    #[error("could not watch the process: {0}")]
    Io(#[from] io::Error),
}

/// An unexpected end of the process, and the event that was in progress.
#[derive(Debug)]
pub(crate) struct PluginExit {
    pub(crate) error: PluginError,
    pub(crate) event: Option<String>,
    pub(crate) container: Option<String>,
}

impl PluginExit {
    pub(crate) fn record_failure(&self, tally: &HandlerStats) -> u64 {
        match self.error {
            PluginError::TimedOut(_) | PluginError::NotReady(_) => tally.record_timeout(),
            _ => tally.record_failure(),
        }
    }
}

impl From<PluginError> for PluginExit {
    fn from(error: PluginError) -> Self {
        Self { error, event: None, container: None }
    }
}

#[derive(Debug)]
pub(crate) struct PluginInstance<'a> {
    plugin: &'a Plugin,
    work: &'a HandlerContext,
    recorder: DeliveryRecorder<'a>,
    /// Whether it has answered at least one event.
    pub(crate) has_succeeded: bool,
}

impl<'a> PluginInstance<'a> {
    pub(crate) fn new(plugin: &'a Plugin, work: &'a HandlerContext) -> Self {
        Self { plugin, work, recorder: DeliveryRecorder::new(work), has_succeeded: false }
    }

    /// Runs until the mailbox is closed, which is a success, or until the process ends.
    pub(crate) async fn run_until_end(
        &mut self,
        pending: &mut PendingMessages<'_>,
    ) -> Result<(), PluginExit> {
        let handler = &self.work.handler.name;
        let mut process = PluginProcess::spawn(self.plugin, self.work)?;
        let limit = self.plugin.timeout;
        let Ok(ready) = timeout(limit, process.request_reply(None)).await else {
            process.kill_group().await;
            return Err(PluginError::NotReady(limit).into());
        };
        ready?;
        info!(handler, "ready; pid {}", process.group.id());
        loop {
            tokio::select! {
                // The output is checked first, so that no event is sent to a process that has ended.
                biased;
                reply = process.next_line() => process.log_line(&reply?),
                message = pending.recv_next() => {
                    let Some(message) = message else { break };
                    pending.unfinished = 1;
                    let end = self.handle_message(&mut process, &message).await;
                    pending.unfinished = 0;
                    end?;
                }
            }
        }
        process.shut_down().await;
        Ok(())
    }

    async fn handle_message(
        &mut self,
        process: &mut PluginProcess,
        message: &HandlerMessage,
    ) -> Result<(), PluginExit> {
        if record_unsubscribed(self.work, message).await {
            return Ok(());
        }
        let (handler, event, container) =
            (&self.work.handler.name, message.action(), container_with_id(message));
        let certificate = certificate_id(message);
        let (began, limit) = (Instant::now(), self.plugin.timeout);
        self.recorder.record_before(message).await;
        let line = protocol::event_line(message);
        let answer = timeout(limit, process.request_reply(Some(&line))).await;
        if answer.is_err() {
            process.kill_group().await;
        }
        self.recorder.record_after(message).await;
        self.work.trigger_none_event(message);
        let took = format!("{:.1?}", began.elapsed());
        match answer.unwrap_or(Err(PluginError::TimedOut(limit))) {
            Ok(PluginOutput::Failed(error)) => {
                self.has_succeeded = true;
                let failures = self.work.stats.record_failure();
                error!(handler, event, container, certificate, took, failures, "{error}");
            }
            Ok(_) => {
                self.has_succeeded = true;
                self.work.stats.record_success();
                info!(handler, event, container, certificate, took, "done");
                record_delivery(self.work, message).await;
            }
            Err(error) => {
                return Err(PluginExit { error, event: Some(event.to_owned()), container });
            }
        }
        Ok(())
    }
}

struct PluginProcess {
    handler: String,
    group: ProcessGroup,
    input: Option<ChildStdin>,
    output: BoundedLines<ChildStdout>,
    /// Taken when its remaining output was waited for.
    stderr_task: Option<JoinHandle<()>>,
    /// The exit status, and until when the remaining output is waited for.
    exit: Option<(ExitStatus, Instant)>,
}

impl PluginProcess {
    fn spawn(plugin: &Plugin, work: &HandlerContext) -> Result<Self, PluginError> {
        let cannot = |error: io::Error| PluginError::Start(start_error(&plugin.program, &error));
        let mut group = ProcessGroup::spawn(&mut plugin.build_command(work)).map_err(cannot)?;
        let pipes =
            (group.child.stdin.take(), group.child.stdout.take(), group.child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            return Err(PluginError::Start("the plugin has no standard input and output".into()));
        };
        let handler = work.handler.name.clone();
        let errors = Some(tokio::spawn(process_group::log_output(errors, handler.clone(), None)));
        let output = BoundedLines::new(output, MAX_REPLY_BYTES);
        Ok(Self { handler, group, input: Some(input), output, stderr_task: errors, exit: None })
    }

    /// Sends the line, if there is one, and waits for the answer.
    async fn request_reply(&mut self, line: Option<&str>) -> Result<PluginOutput, PluginError> {
        let mut input = self.input.take();
        // A write error means that the process has ended, which is detected while waiting for the answer.
        let write_line = async {
            if let (Some(line), Some(input)) = (line, &mut input) {
                let _ = input.write_all(line.as_bytes()).await;
            }
        };
        let reply =
            process_group::run_alongside(self.wait_for_reply(line.is_none()), write_line).await?;
        self.input = input;
        Ok(reply)
    }

    async fn wait_for_reply(&mut self, to_be_ready: bool) -> Result<PluginOutput, PluginError> {
        loop {
            let line = self.next_line().await?;
            match PluginOutput::parse(&line) {
                PluginOutput::Ready if to_be_ready => return Ok(PluginOutput::Ready),
                answer @ (PluginOutput::Done | PluginOutput::Failed(_)) if !to_be_ready => {
                    return Ok(answer);
                }
                _ => self.log_line(&line),
            }
        }
    }

    /// Returns the next line. Cancel safe: no output is lost if this future is dropped.
    async fn next_line(&mut self) -> Result<String, PluginError> {
        loop {
            if let Some((status, until)) = self.exit {
                if let Ok(Some(line)) = timeout_at(until, self.output.next_line()).await {
                    return Ok(line);
                }
                self.finish_stderr().await;
                return Err(PluginError::Exited(status));
            }
            tokio::select! {
                biased;
                line = self.output.next_line() => {
                    let Some(line) = line else { break };
                    return Ok(line);
                }
                status = self.group.wait() => {
                    self.exit = Some((status?, Instant::now() + STDERR_GRACE));
                }
            }
        }
        // The plugin closed its output, usually because it exits.
        if let Ok(status) = timeout(STDERR_GRACE, self.group.wait()).await {
            self.finish_stderr().await;
            return Err(PluginError::Exited(status?));
        }
        self.kill_group().await;
        Err(PluginError::OutputClosed)
    }

    fn log_line(&self, line: &str) {
        let handler = &self.handler;
        if PluginOutput::parse(line) == PluginOutput::Other {
            info!(handler, "{line}");
        } else {
            warn!(handler, "unexpected answer: {line}");
        }
    }

    async fn kill_group(&mut self) {
        self.group.kill().await;
        self.finish_stderr().await;
    }

    async fn finish_stderr(&mut self) {
        if let Some(errors) = self.stderr_task.take() {
            let _ = timeout(STDERR_GRACE, errors).await;
        }
    }

    /// Closes the plugin's input, which asks it to exit.
    async fn shut_down(&mut self) {
        drop(self.input.take());
        let last = async {
            while let Ok(line) = self.next_line().await {
                self.log_line(&line);
            }
        };
        if timeout(STOP_TIMEOUT, last).await.is_err() {
            let handler = &self.handler;
            warn!(
                handler,
                "the plugin did not exit within {STOP_TIMEOUT:?} after its input was closed; killed"
            );
            self.kill_group().await;
        }
    }
}
