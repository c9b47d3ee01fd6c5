//! Steps, one after the other and some beside others, and how long each took.

use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use xshell::{Cmd, Shell};

/// The steps that passed so far.
pub(crate) struct Steps {
    start: Instant,
    /// How long each took.
    passed: Vec<(String, Duration)>,
    /// What could not be done here.
    left_out: Vec<&'static str>,
}

/// A step that goes on beside others.
pub(crate) struct Beside<'scope> {
    name: &'static str,
    /// How long it took.
    thread: ScopedJoinHandle<'scope, Result<Duration>>,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            passed: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Runs a command, which must succeed.
    pub(crate) fn command(&mut self, name: &'static str, command: &Cmd<'_>) -> Result<()> {
        self.step(name, || Ok(command.run()?))
    }

    /// Does a step.
    pub(crate) fn step(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        println!("\n── {name}");
        let took = timed(name, step)?;
        self.passed.push((name.to_owned(), took));
        Ok(())
    }

    /// Waits for a step that was started beside others.
    pub(crate) fn wait_for(&mut self, step: Beside<'_>) -> Result<()> {
        let name = step.name;
        println!("\n── {name}");
        let start = Instant::now();
        let took = step
            .thread
            .join()
            .map_err(|_| anyhow!("`{name}` panicked"))??;
        let beside = format!(
            "{name} (and {:.1} s beside others)",
            took.saturating_sub(start.elapsed()).as_secs_f64()
        );
        self.passed.push((beside, start.elapsed()));
        Ok(())
    }

    /// Tells in the end of what could not be done here.
    pub(crate) fn leave_out(&mut self, what: &'static str) {
        self.left_out.push(what);
    }

    /// Shows how long the steps took.
    pub(crate) fn summarize(&self) {
        println!(
            "\nall passed in {:.1} s:",
            self.start.elapsed().as_secs_f64()
        );
        for (name, time) in &self.passed {
            println!("  {:>6.1} s  {name}", time.as_secs_f64());
        }
        for reason in &self.left_out {
            println!("  LEFT OUT  {reason}");
        }
    }
}

/// Starts a step that goes on beside others, until it is [waited for](Steps::wait_for).
pub(crate) fn beside<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &'static str,
    step: impl FnOnce(&Shell) -> Result<()> + Send + 'scope,
) -> Beside<'scope> {
    // A shell serves one thread only.
    let thread = scope.spawn(move || timed(name, || step(&Shell::new()?)));
    Beside { name, thread }
}

fn timed(name: &str, step: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    step().with_context(|| format!("`{name}` failed"))?;
    Ok(start.elapsed())
}
