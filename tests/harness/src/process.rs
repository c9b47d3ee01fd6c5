//! The child process: its start, its end, and that neither outlives the other's owner.
//!
//! A [`Process`] is running or has ended by itself, but its id stays its own until it is dropped:
//! only the drop reaps it. When this program dies, by whatever signal, the kernel kills the child.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::bond::end_with_parent;
use crate::log::Log;
use crate::wait::wait_until;

/// How long Envoy may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A running child and its log.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: Log,
    /// Keeps the thread that started the child alive; see [`spawn_from_own_thread`].
    _starter: Sender<()>,
}

impl Process {
    /// Starts `command` with both of its outputs going to `log`.
    pub(crate) fn start(mut command: Command, log: Log) -> anyhow::Result<Self> {
        let output = log.create()?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("can't share the log")?)
            .stderr(output);
        end_with_parent(&mut command);
        raise_descriptor_limit(&mut command);
        let program = command.get_program().to_owned();
        let (child, starter) = spawn_from_own_thread(command)
            .with_context(|| format!("can't run {}", program.display()))?;
        Ok(Self {
            child,
            log,
            _starter: starter,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// [`wait_until`], but not beyond the end of the process; errors come with the log's end.
    pub(crate) fn wait_until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        wait_until(what, limit, || {
            // Asked first: what the process did before its end still counts.
            let ended = self.has_ended();
            let answer = condition().map(Ok);
            answer.or_else(|| ended.then(|| Err(anyhow!("waited in vain for {what}: Envoy ended"))))
        })
        .flatten()
        .map_err(|error| self.log.explain(&error))
    }

    /// Whether the process has ended; does not reap it.
    fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(
            waitid(Id::Pid(self.pid()), flags),
            Ok(WaitStatus::StillAlive)
        )
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        kill(self.pid(), Signal::SIGTERM)?;
        let ended = wait_until("Envoy's end", GRACE, || self.has_ended().then_some(()));
        if ended.is_err() {
            self.child.kill()?;
        }
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A drop can't fail; should this one, there's still the kernel's signal.
        if let Err(error) = self.end() {
            eprintln!("can't end Envoy: {error:#}");
        }
        if thread::panicking() {
            eprintln!("Envoy's log ends with:\n{}", self.log.tail());
        }
    }
}

/// Starts the child from a thread that lives until the returned sender is dropped.
///
/// The kernel takes the end of the *thread* that started the child for the parent's death. The
/// caller's thread may be one of a pool, or of a test that hands its Envoy on.
fn spawn_from_own_thread(mut command: Command) -> io::Result<(Child, Sender<()>)> {
    let (hand_over, handed_over) = mpsc::channel();
    let (starter, dropped) = mpsc::channel();
    thread::Builder::new()
        .name("envoy-starter".to_owned())
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

/// Lets the child open as many connections as the system allows.
#[expect(
    unsafe_code,
    reason = "the limit is the child's own, so it is raised between fork and exec"
)]
fn raise_descriptor_limit(command: &mut Command) {
    let raise = || {
        // Every WebSocket takes two descriptors; the soft limit is often as low as 1024.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
        Ok(())
    };
    // SAFETY: the closure makes two system calls and neither allocates nor takes a lock, which
    // is what is allowed in a forked child of a program with several threads.
    unsafe {
        command.pre_exec(raise);
    }
}
