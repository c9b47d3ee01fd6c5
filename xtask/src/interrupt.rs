//! Ctrl-C and SIGTERM, taken for the wish that everything be ended in order.

use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wsbalancer_harness::{Child, wait_until};

/// Whether such a signal came.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on such a signal no longer ends this program by itself.
    pub(crate) fn on_signals() -> Result<Self> {
        let interrupt = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&interrupt);
        ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
            .context("can't handle signals")?;
        Ok(Self(interrupt))
    }

    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// An error if it came.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(!self.came(), "interrupted");
        Ok(())
    }

    /// Runs a program to its end, which is asked for when the signal comes.
    pub(crate) fn run(&self, command: Command) -> Result<ExitStatus> {
        self.check()?;
        let child = Child::start(command)?;
        wait_until("the end", Duration::MAX, || {
            (self.came() || child.has_ended()).then_some(())
        })?;
        child.end()
    }
}
