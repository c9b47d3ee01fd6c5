//! Child processes that never outlive their owner: neither the value that stands for them, nor
//! this program, whatever ends that.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{self, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpid, getppid};

use crate::wait::wait_until;

/// How long a process may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A child process until it is dropped.
///
/// The drop ends it with SIGTERM, or with SIGKILL should that not be enough, and reaps it: until
/// then its id stays its own, even where it has ended by itself. When this program dies, by
/// whatever signal, the kernel kills the child.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    name: String,
    /// Keeps the thread that started the child alive; see [`spawn_from_own_thread`].
    _starter: Sender<()>,
}

impl Child {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let name = command.get_program().display().to_string();
        end_with_parent(&mut command);
        let (process, starter) =
            spawn_from_own_thread(command).with_context(|| format!("can't run {name}"))?;
        Ok(Self {
            process,
            name,
            _starter: starter,
        })
    }

    /// Starts a program that prints a line once it is ready, which is returned. What it prints
    /// after that is lost.
    ///
    /// # Errors
    /// When there is no such program, or it ends before.
    pub fn start_until_line(mut command: Command) -> anyhow::Result<(Self, String)> {
        command.stdout(Stdio::piped());
        let mut child = Self::start(command)?;
        let output = child.take_output().context("its output is piped")?;
        let line = BufReader::new(output).lines().next();
        let line = line.with_context(|| format!("{} has ended", child.name))??;
        Ok((child, line))
    }

    /// Its output, if that is piped and was not taken before.
    pub fn take_output(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it has ended by itself; does not reap it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(
            waitid(Id::Pid(self.pid()), flags),
            Ok(WaitStatus::StillAlive)
        )
    }

    /// Ends it, unless it has by itself, and tells how it ended.
    ///
    /// # Errors
    /// When it can't be signalled or waited for.
    pub fn end(mut self) -> anyhow::Result<ExitStatus> {
        self.end_and_reap()
    }

    fn end_and_reap(&mut self) -> anyhow::Result<ExitStatus> {
        // Once it is reaped, the id may be another's.
        if let Some(status) = self.process.try_wait()? {
            return Ok(status);
        }
        kill(self.pid(), Signal::SIGTERM)?;
        if wait_until("its end", GRACE, || self.has_ended().then_some(())).is_err() {
            self.process.kill()?;
        }
        Ok(self.process.wait()?)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A drop can't fail; should this one, there's still the kernel's signal.
        if let Err(error) = self.end_and_reap() {
            eprintln!("can't end {}: {error:#}", self.name);
        }
    }
}

/// Starts the child from a thread that lives until the returned sender is dropped.
///
/// The kernel takes the end of the *thread* that started the child for the parent's death. The
/// caller's thread may be one of a pool, or of a test that hands its child on.
fn spawn_from_own_thread(mut command: Command) -> io::Result<(process::Child, Sender<()>)> {
    let (hand_over, handed_over) = mpsc::channel();
    let (starter, dropped) = mpsc::channel();
    thread::Builder::new()
        .name("child-starter".to_owned())
        .spawn(move || {
            // The receiver waits for exactly this message.
            let _ = hand_over.send(command.spawn());
            // Nothing is ever sent: the answer is that the sender is gone.
            let _ = dropped.recv();
        })?;
    let child = handed_over
        .recv()
        .map_err(|_| io::Error::other("the thread that starts it panicked"))??;
    Ok((child, starter))
}

/// Has the child killed when the thread that starts it ends: with this program, even where that
/// is killed, or before it (prctl(2), `PR_SET_PDEATHSIG`).
#[expect(
    unsafe_code,
    reason = "only between fork and exec can a child ask for its parent's death"
)]
fn end_with_parent(command: &mut Command) {
    let parent = getpid();
    let bond = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // A parent that died before that call sends no signal any more.
        if getppid() != parent {
            return Err(Errno::ESRCH.into());
        }
        Ok(())
    };
    // SAFETY: the closure makes two system calls and neither allocates nor takes a lock, which
    // is what is allowed in a forked child of a program with several threads.
    unsafe {
        command.pre_exec(bond);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn tells_how_it_ended() {
        let child = Child::start(shell("exit 3")).unwrap();
        wait_until("its end", GRACE, || child.has_ended().then_some(())).unwrap();
        assert_eq!(child.end().unwrap().code(), Some(3));
        let (child, line) = Child::start_until_line(shell(
            "trap 'exit 4' TERM; echo ready; while :; do sleep 0.1; done",
        ))
        .unwrap();
        assert_eq!(line, "ready");
        assert_eq!(child.end().unwrap().code(), Some(4));
    }

    #[test]
    fn a_program_that_is_not_there_or_never_ready_is_an_error_that_names_it() {
        let error = Child::start(Command::new("no-such-program")).unwrap_err();
        assert_eq!(error.to_string(), "can't run no-such-program");
        let error = Child::start_until_line(shell("true")).unwrap_err();
        assert_eq!(error.to_string(), "sh has ended");
    }

    #[test]
    fn nothing_is_left_after_the_drop() {
        let (child, _) = Child::start_until_line(shell("echo; exec sleep 600")).unwrap();
        let pid = child.pid();
        assert!(kill(pid, None).is_ok());
        drop(child);
        // A process that ended but was not reaped would still be there.
        assert_eq!(kill(pid, None), Err(Errno::ESRCH));
    }
}
