//! Everything that must hold before a change lands, in the order of how fast it fails.

use std::thread;

use anyhow::{Result, ensure};
use xshell::{Cmd, Shell, cmd};

use crate::compose::MadeOf;
use crate::steps::{Steps, beside};
use crate::wheels::{DEPLOY, PODS};
use crate::{compose, docker, envoy, image, setup, versions, wasm};

/// What the end-to-end tests need of the system.
pub(crate) const END_TO_END: [&[setup::Need]; 6] = [
    setup::ENVOY,
    setup::PODS,
    setup::DEPLOY,
    setup::COMPILED_PODS,
    setup::BROWSER,
    setup::PROMETHEUS,
];

/// Parts of the names of the end-to-end tests that need the machine for themselves: they measure
/// how even a load becomes while it lasts, or how long something takes.
pub(crate) const ALONE: [&str; 9] = [
    "_timeout",
    "_under_load",
    "_within_an_interval",
    "balance::",
    "even_out",
    "failover::",
    "fleet::",
    "polling::",
    "slow_start::",
];

/// How long the end-to-end tests may take.
const LIMIT: &str = "30m";

/// Runs every check and test, and stops at the first that fails.
pub(crate) fn run(shell: &Shell) -> Result<()> {
    let docker = docker::is_there(shell)?;
    let on_docker = docker.then_some(setup::DOCKER);
    let needs: Vec<_> = END_TO_END
        .into_iter()
        .chain([setup::IMAGE])
        .chain(on_docker)
        .collect();
    setup::check(shell, &needs)?;
    if setup::in_ci() {
        // Nothing is built there a second time.
        shell.set_var("CARGO_INCREMENTAL", "0");
    }
    let mut steps = Steps::new();
    // Cargo is busy with the processor, and this with the network.
    thread::scope(|scope| {
        let fetched = beside(scope, "setup, Envoy, wheels, images of others", |shell| {
            setup::complete(shell, &needs)?;
            envoy::provide(shell)?;
            versions::provide_oldest(shell)?;
            PODS.provide(shell)?;
            DEPLOY.provide(shell)?;
            if docker {
                compose::provide_images(shell, MadeOf::quickest(shell))?;
            }
            Ok(())
        });
        steps.command("format", &cmd!(shell, "cargo fmt --all --check"))?;
        steps.step("build", || wasm::build(shell))?;
        lint(shell, &mut steps)?;
        steps.wait_for(fetched)
    })?;
    steps.command(
        "unit and integration tests",
        &cmd!(shell, "cargo test --workspace"),
    )?;
    steps.step("image", || image::try_out(shell))?;
    let alone = ALONE.as_slice();
    let skipped = alone.iter().flat_map(|name| ["--skip", name]);
    steps.command(
        "end-to-end tests",
        &end_to_end(shell, LIMIT, 2).args(skipped),
    )?;
    steps.command(
        "end-to-end tests that measure",
        &end_to_end(shell, LIMIT, 1).args(alone),
    )?;
    steps.step("end-to-end tests on the oldest Envoy", || {
        versions::run_on_oldest(shell)
    })?;
    if docker {
        steps.step("docker-compose", || {
            compose::try_out(shell, MadeOf::quickest(shell))
        })?;
    } else {
        steps.leave_out("docker-compose: there is no Docker Engine");
    }
    steps.summarize();
    Ok(())
}

/// Tries only what is for the Docker Engine: with images that are built from nothing, as for a user,
/// or with `prebuilt` as [`run`] does.
pub(crate) fn run_docker(shell: &Shell, prebuilt: bool) -> Result<()> {
    ensure!(docker::is_there(shell)?, "there is no Docker Engine");
    prepare(shell, &[setup::ENVOY, setup::PROMETHEUS, setup::DOCKER])?;
    let mut steps = Steps::new();
    let made_of = if prebuilt {
        steps.step("build", || wasm::build(shell))?;
        MadeOf::quickest(shell)
    } else {
        MadeOf::Sources
    };
    steps.step("images of others", || {
        compose::provide_images(shell, made_of)
    })?;
    steps.step("docker-compose", || compose::try_out(shell, made_of))?;
    steps.summarize();
    Ok(())
}

/// Runs only the end-to-end tests that have `filter` in their names.
pub(crate) fn run_end_to_end(shell: &Shell, filter: &str) -> Result<()> {
    prepare(shell, &END_TO_END)?;
    PODS.provide(shell)?;
    DEPLOY.provide(shell)?;
    let mut steps = Steps::new();
    steps.step("build", || wasm::build(shell))?;
    steps.command("end-to-end tests", &end_to_end(shell, LIMIT, 1).arg(filter))?;
    steps.summarize();
    Ok(())
}

/// Makes sure that all of this is there, and Envoy.
pub(crate) fn prepare(shell: &Shell, needs: &[&[setup::Need]]) -> Result<()> {
    setup::check(shell, needs)?;
    setup::complete(shell, needs)?;
    envoy::provide(shell)
}

fn lint(shell: &Shell, steps: &mut Steps) -> Result<()> {
    steps.command(
        "lints",
        &cmd!(
            shell,
            "cargo clippy --workspace --all-targets --all-features -- -D warnings"
        ),
    )?;
    steps.command(
        "lints for Wasm",
        &cmd!(
            shell,
            "cargo clippy --target wasm32-wasip1 --package wsbalancer --lib -- -D warnings"
        ),
    )?;
    let documentation = cmd!(shell, "cargo doc --workspace --all-features --no-deps");
    steps.command(
        "documentation",
        &documentation.env("RUSTDOCFLAGS", "-D warnings"),
    )
}

/// The end-to-end tests, so many at a time: each has a whole Envoy, and many have thousands of
/// WebSockets.
///
/// Of the whole workspace, as the other commands: with fewer packages selected, some of what they
/// share would have fewer features, and be compiled anew.
///
/// With a limit, as `timeout` takes it, for a test that waits for ever would never be named as what failed.
pub(crate) fn end_to_end<'a>(shell: &'a Shell, limit: &str, threads: u8) -> Cmd<'a> {
    let threads = threads.to_string();
    cmd!(
        shell,
        "timeout --kill-after 10s {limit} cargo test --workspace --all-features --test end_to_end -- --test-threads {threads}"
    )
}
