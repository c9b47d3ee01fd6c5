//! Envoy's process: a child with a log, which explains whatever goes wrong.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::child::Child;
use crate::log::Log;
use crate::wait::wait_until;

/// A running child and its log.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: Log,
}

impl Process {
    /// Starts `command` with both of its outputs going to `log`.
    pub(crate) fn start(mut command: Command, log: Log) -> anyhow::Result<Self> {
        let output = log.create()?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("can't share the log")?)
            .stderr(output);
        raise_descriptor_limit(&mut command);
        Ok(Self {
            child: Child::start(command)?,
            log,
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
            let ended = self.child.has_ended();
            let answer = condition().map(Ok);
            answer.or_else(|| ended.then(|| Err(anyhow!("waited in vain for {what}: Envoy ended"))))
        })
        .flatten()
        .map_err(|error| self.log.explain(&error))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("Envoy's log ends with:\n{}", self.log.tail());
        }
    }
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
