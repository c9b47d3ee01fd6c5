//! Child processes: none of them outlives this one, whether it ends by itself, by an error or
//! by any signal.

use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wsbalancer_harness::end_with_parent;

/// The processes that are to end when a signal comes.
#[derive(Clone, Default)]
pub(crate) struct Family {
    living: Arc<Mutex<Vec<Pid>>>,
    ending: Arc<AtomicBool>,
}

impl Family {
    /// Ends all on SIGINT and SIGTERM. Whoever waits for one of them then goes on, and finds
    /// that the family [is ending](Self::is_ending).
    pub(crate) fn end_on_signals(&self) -> Result<()> {
        let family = self.clone();
        let end = move || {
            family.ending.store(true, Ordering::SeqCst);
            family.with_living(|living| living.iter().for_each(|pid| end(*pid)));
        };
        ctrlc::set_handler(end).context("can't handle signals")
    }

    /// Whether a signal came.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    fn with_living<T>(&self, change: impl FnOnce(&mut Vec<Pid>) -> T) -> T {
        // The list is whole even where its holder panicked.
        change(&mut self.living.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts a process, unless it is too late: the signal would have missed it.
    fn spawn(&self, command: &mut Command) -> Result<Child> {
        // For the signals that can't be handled. The main thread is the parent: it ends last.
        end_with_parent(command);
        self.with_living(|living| {
            ensure!(!self.is_ending(), "interrupted");
            let child = command
                .spawn()
                .with_context(|| format!("can't start {command:?}"))?;
            living.push(id(&child));
            Ok(child)
        })
    }

    /// Waits for a process to end.
    fn wait(&self, child: &mut Child) -> Result<ExitStatus> {
        let status = child.wait()?;
        self.with_living(|living| living.retain(|pid| *pid != id(child)));
        Ok(status)
    }
}

/// Processes that end when this is dropped.
pub(crate) struct Children {
    family: Family,
    children: Vec<Child>,
}

impl Children {
    pub(crate) fn of(family: &Family) -> Self {
        Self {
            family: family.clone(),
            children: Vec::new(),
        }
    }

    /// Starts a process that goes on in the background; its output, if that is piped.
    pub(crate) fn start(&mut self, command: &mut Command) -> Result<Option<ChildStdout>> {
        let mut child = self.family.spawn(command)?;
        let output = child.stdout.take();
        self.children.push(child);
        Ok(output)
    }

    /// Runs a process to its end.
    pub(crate) fn run(&mut self, command: &mut Command) -> Result<ExitStatus> {
        let mut child = self.family.spawn(command)?;
        self.family.wait(&mut child)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &self.children {
            end(id(child));
        }
        for child in &mut self.children {
            // It can only fail for a process that is no child of ours.
            let _ended = self.family.wait(child);
        }
    }
}

fn end(pid: Pid) {
    // A process that has ended already needs no signal.
    let _sent = kill(pid, Signal::SIGTERM);
}

fn id(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}
