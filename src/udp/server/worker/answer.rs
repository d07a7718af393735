//! The way of an answer from an endpoint to the client.

use super::{
    super::{session_table::SessionId, socket},
    MAX_BURST, Worker,
};
use nix::errno::Errno;

/// What the socket of a session reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketState {
    Usable,
    Refused,
}

impl Worker {
    pub(super) fn receive_answers(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let burst = session.burst;
        let (state, read) = self.read_answers(id, burst.0);
        if let Some(session) = self.sessions.get_mut(id) {
            session.burst = burst.after(read);
        }
        if state == SocketState::Refused {
            self.refuse(id);
        }
    }

    /// Forwards the answers that have arrived, before a session ends. The kernel reports a refusal before them.
    pub(super) fn drain_answers(&mut self, id: SessionId) {
        if self.read_answers(id, MAX_BURST).0 == SocketState::Refused {
            self.read_answers(id, MAX_BURST);
        }
    }

    fn read_answers(&mut self, id: SessionId, most: u8) -> (SocketState, u8) {
        let mut buffer = std::mem::take(&mut self.answers);
        let mut state = SocketState::Usable;
        let mut read = 0;
        while read < most {
            // The last answer may have ended the session.
            let Some(session) = self.sessions.get_mut(id) else { break };
            match socket::receive_connected(&session.socket, &mut buffer) {
                Ok(length) => self.forward_answer(id, &buffer[..length]),
                Err(Errno::EINTR) => continue,
                Err(error) if socket::is_refusal(error) => {
                    state = SocketState::Refused;
                    break;
                }
                Err(_) => break,
            }
            read += 1;
        }
        self.answers = buffer;
        (state, read)
    }

    fn forward_answer(&mut self, id: SessionId, answer: &[u8]) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let served = &self.listeners[session.key.listener];
        session.answers += 1;
        if session.datagrams <= session.answers
            && let Some(kept) = session.kept.take()
        {
            self.kept_bytes -= kept.len();
        }
        session.setup.counters.traffic.record_out(answer.len());
        session.setup.health.record_answer(session.sent_at);
        if served.listener.is_one_way() {
            return;
        }
        let sent = socket::send_answer(&served.socket, answer, session.client, session.local);
        match sent {
            Ok(()) => served.counters.traffic.record_out(answer.len()),
            Err(_) => served.counters.send_error.increment(),
        }
        let replies = served.listener.replies.map(u64::from);
        let is_complete = match replies {
            Some(each) => each * session.datagrams <= session.answers,
            None => session.retired && session.datagrams <= session.answers,
        };
        if is_complete {
            self.end_session(id);
            return;
        }
        let idle = session.idle(&served.listener);
        self.sessions.touch_answered(id, idle, self.now);
    }
}
