//! The test server as a program: its options, its one line of output, its signals.

mod options;

use std::io::{Write, stdout};

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use wsbalancer_backend::{Fleet, raise_descriptor_limit};

use crate::options::Options;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let config = Options::parse().into_config()?;
    let descriptors = raise_descriptor_limit()?;
    // Caught before anybody is told that we are ready: from then on a signal ends us cleanly.
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be caught")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be caught")?;
    let fleet = Fleet::start(config).await?;
    log::info!(
        "pods: {}, file descriptors at most: {descriptors}",
        fleet.pods().len()
    );

    let ready = serde_json::to_string(&fleet.ready())?;
    writeln!(stdout(), "{ready}").context("stdout is closed: who is to know the addresses?")?;

    tokio::select! {
        _ = interrupt.recv() => log::info!("SIGINT: ending"),
        _ = terminate.recv() => log::info!("SIGTERM: ending"),
    }
    fleet.shutdown().await;
    Ok(())
}
