//! A socket to the kernel's netfilter.

use crate::udp::nft::{
    conntrack::{
        ConntrackEntry, KernelAnswer, delete_entry_request, delete_mark_request,
        delete_own_request, generation_request, list_marks_request, list_unmarked_request,
        parse_answers,
    },
    mark::Mark,
};
use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
            setsockopt, socket, sockopt,
        },
        time::TimeVal,
    },
};
use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

/// The time limit of an answer. The kernel answers at once, after it has looked at all entries.
const TIMEOUT: TimeVal = TimeVal::new(5, 0);
const BUFFER_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let protocol = SockProtocol::NetlinkNetFilter;
        let socket =
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TIMEOUT)?;
        Ok(Self(socket))
    }

    /// Deletes all entries of flows with a mark. The kernel selects them.
    pub(super) fn delete_flows(&self, mark: Mark) -> io::Result<()> {
        self.ask(&delete_mark_request(mark), |_| ())
    }

    /// Deletes all entries of flows of docker-glue-udp. The kernel selects them.
    pub(super) fn delete_own_flows(&self) -> io::Result<()> {
        self.ask(&delete_own_request(), |_| ())
    }

    /// Counts the flows with these marks.
    pub(super) fn count_flows(&self, marks: &BTreeSet<Mark>) -> io::Result<u64> {
        let numbers: BTreeSet<_> = marks.iter().map(|mark| mark.number()).collect();
        let mut count = 0;
        self.ask(&list_marks_request(marks), |answer| match answer {
            KernelAnswer::Entry(entry) if numbers.contains(&entry.mark) => count += 1,
            _ => {}
        })?;
        Ok(count)
    }

    /// Deletes the entries of flows that are older than their listener. Returns their number.
    pub(super) fn delete_stale(
        &self,
        is_stale: impl Fn(&ConntrackEntry) -> bool,
    ) -> io::Result<usize> {
        let mut entries = Vec::new();
        self.ask(&list_unmarked_request(), |answer| match answer {
            KernelAnswer::Entry(entry) if is_stale(&entry) => entries.push(entry),
            _ => {}
        })?;
        for entry in &entries {
            match self.ask(&delete_entry_request(entry), |_| ()) {
                // It has ended by itself.
                Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
                other => other?,
            }
        }
        Ok(entries.len())
    }

    /// Returns the number of the last change of nftables' rules, by any program.
    pub(super) fn generation(&self) -> io::Result<Option<u32>> {
        sendto(
            self.0.as_raw_fd(),
            &generation_request(),
            &NetlinkAddr::new(0, 0),
            MsgFlags::empty(),
        )?;
        let generation = |answer| match answer {
            KernelAnswer::Generation(number) => Some(number),
            _ => None,
        };
        Ok(self.receive()?.into_iter().find_map(generation))
    }

    /// Sends a request, and hands over all answers until the last one.
    fn ask(&self, request: &[u8], mut take: impl FnMut(KernelAnswer)) -> io::Result<()> {
        sendto(self.0.as_raw_fd(), request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        loop {
            for answer in self.receive()? {
                match answer {
                    KernelAnswer::End(0) => return Ok(()),
                    KernelAnswer::End(error) => return Err(io::Error::from_raw_os_error(error)),
                    answer => take(answer),
                }
            }
        }
    }

    fn receive(&self) -> io::Result<Vec<KernelAnswer>> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        Ok(parse_answers(&buffer[..length]))
    }
}
