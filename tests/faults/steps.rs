//! Kills a balancer just before it changes something outside its process.

use crate::common::{DEADLINE, balancer::Balancer};
use nix::{
    libc,
    sys::{
        ptrace::{self, Options},
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{fs, time::Instant};

/// System calls that change the outside: file names, durable data, programs, sockets.
const CHANGES: &[(&str, libc::c_long)] = &[
    #[cfg(target_arch = "x86_64")]
    ("mkdir", libc::SYS_mkdir),
    ("mkdir", libc::SYS_mkdirat),
    ("fsync", libc::SYS_fsync),
    #[cfg(target_arch = "x86_64")]
    ("rename", libc::SYS_rename),
    ("rename", libc::SYS_renameat),
    ("rename", libc::SYS_renameat2),
    #[cfg(target_arch = "x86_64")]
    ("unlink", libc::SYS_unlink),
    ("unlink", libc::SYS_unlinkat),
    ("clone", libc::SYS_clone),
    ("clone", libc::SYS_clone3),
    #[cfg(target_arch = "x86_64")]
    ("clone", libc::SYS_vfork),
    ("connect", libc::SYS_connect),
];

/// Kills the balancer before step `number` of the pass that `trigger` causes. A step is a call of [`CHANGES`] or
/// several equal calls in a row. Returns the steps, of which the last did not happen, or `None` if the balancer logged
/// `applied` before.
///
/// # Panics
/// If neither the step nor the log line comes within the deadline.
pub(crate) fn kill_at(
    balancer: &mut Balancer,
    number: usize,
    trigger: impl FnOnce(),
    applied: &str,
) -> Option<Vec<&'static str>> {
    let pid = balancer.pid();
    let mark = balancer.log().len();
    ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD).unwrap();
    ptrace::interrupt(pid).unwrap();
    trigger();
    let end = Instant::now() + DEADLINE;
    let mut steps = Vec::new();
    while !balancer.log()[mark..].contains(applied) {
        assert!(Instant::now() < end, "neither step {number} nor {applied:?}:\n{}", balancer.log());
        let mut signal = None;
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)).unwrap() {
            WaitStatus::StillAlive => {
                std::thread::yield_now();
                continue;
            }
            WaitStatus::PtraceSyscall(_) => {
                if let Some(step) = changing_syscall(pid).filter(|step| steps.last() != Some(step))
                {
                    steps.push(step);
                }
                if number < steps.len() {
                    balancer.stop_with(Signal::SIGKILL);
                    return Some(steps);
                }
            }
            WaitStatus::Stopped(_, received) => signal = Some(received),
            _ => {}
        }
        ptrace::syscall(pid, signal).unwrap();
    }
    // It can be traced again. Only a stopped process can be detached from.
    ptrace::interrupt(pid).unwrap();
    waitpid(pid, None).unwrap();
    ptrace::detach(pid, None).unwrap();
    None
}

/// Returns the system call that the process is at, if it is one of [`CHANGES`].
fn changing_syscall(pid: Pid) -> Option<&'static str> {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let number: libc::c_long = call.split(' ').next()?.parse().ok()?;
    CHANGES.iter().find(|(_, n)| *n == number).map(|(name, _)| *name)
}
