//! Everything that must hold before a change lands, in the order of how fast it fails.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use xshell::{Cmd, Shell, cmd};

use crate::{compose, docker, envoy, image, setup, wasm};

/// What the end-to-end tests need of the system.
const END_TO_END: [&[setup::Need]; 3] = [setup::ENVOY, setup::BROWSER, setup::PROMETHEUS];

/// Runs every check and test, and stops at the first that fails.
pub(crate) fn run(shell: &Shell) -> Result<()> {
    let docker = docker::is_there(shell)?;
    let on_docker = docker.then_some(setup::DOCKER);
    let needs: Vec<_> = END_TO_END.into_iter().chain(on_docker).collect();
    prepare(shell, &needs)?;
    let mut steps = Steps::default();
    steps.command("format", &cmd!(shell, "cargo fmt --all --check"))?;
    steps.step("build", || wasm::build(shell))?;
    steps.step("envoy", || envoy::provide(shell))?;
    steps.command(
        "lints",
        &cmd!(
            shell,
            "cargo clippy --workspace --all-targets -- -D warnings"
        ),
    )?;
    steps.command(
        "lints for Wasm",
        &cmd!(
            shell,
            "cargo clippy --target wasm32-wasip1 --package wsbalancer --lib -- -D warnings"
        ),
    )?;
    steps.command(
        "unit and integration tests",
        &cmd!(shell, "cargo test --workspace --exclude wsbalancer-e2e"),
    )?;
    steps.command(
        "documentation",
        &cmd!(shell, "cargo doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    steps.command("end-to-end tests", &end_to_end(shell, None))?;
    if docker {
        steps.docker(shell)?;
    } else {
        steps
            .left_out
            .push("image and docker-compose: there is no Docker Engine");
    }
    steps.summarize();
    Ok(())
}

/// Tries only what is for the Docker Engine.
pub(crate) fn run_docker(shell: &Shell) -> Result<()> {
    ensure!(docker::is_there(shell)?, "there is no Docker Engine");
    prepare(shell, &[setup::ENVOY, setup::DOCKER])?;
    let mut steps = Steps::default();
    steps.step("envoy", || envoy::provide(shell))?;
    steps.docker(shell)?;
    steps.summarize();
    Ok(())
}

/// Runs only the end-to-end tests that have `filter` in their names.
pub(crate) fn run_end_to_end(shell: &Shell, filter: &str) -> Result<()> {
    prepare(shell, &END_TO_END)?;
    let mut steps = Steps::default();
    steps.step("build", || wasm::build(shell))?;
    steps.step("envoy", || envoy::provide(shell))?;
    steps.command("end-to-end tests", &end_to_end(shell, Some(filter)))?;
    steps.summarize();
    Ok(())
}

fn prepare(shell: &Shell, needs: &[&[setup::Need]]) -> Result<()> {
    setup::check(shell, needs)?;
    setup::complete(shell, needs)
}

/// One test at a time: each has a whole Envoy and thousands of WebSockets.
fn end_to_end<'a>(shell: &'a Shell, filter: Option<&str>) -> Cmd<'a> {
    cmd!(
        shell,
        "cargo test --package wsbalancer-e2e -- --test-threads=1 {filter...}"
    )
}

/// The steps that passed so far.
#[derive(Default)]
struct Steps {
    /// How long each took.
    passed: Vec<(&'static str, Duration)>,
    /// What could not be done here.
    left_out: Vec<&'static str>,
}

impl Steps {
    fn command(&mut self, name: &'static str, command: &Cmd<'_>) -> Result<()> {
        self.step(name, || Ok(command.run()?))
    }

    fn step(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n── {name}");
        let start = Instant::now();
        step().with_context(|| format!("`{name}` failed"))?;
        self.passed.push((name, start.elapsed()));
        Ok(())
    }

    fn docker(&mut self, shell: &Shell) -> Result<()> {
        self.step("base images", || compose::provide_base_images(shell))?;
        self.step("image", || image::try_out(shell))?;
        self.step("docker-compose", || compose::try_out(shell))
    }

    fn summarize(&self) {
        println!("\nall passed:");
        for (name, time) in &self.passed {
            println!("  {:>6.1} s  {name}", time.as_secs_f64());
        }
        for reason in &self.left_out {
            println!("  LEFT OUT  {reason}");
        }
    }
}
