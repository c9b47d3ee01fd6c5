//! `wsbalancer pods`: the test server, with one line of output that says where its pods are.

mod arguments;

use std::io::{Write, stdout};

use anyhow::Context;
use wsbalancer_backend::{Fleet, raise_descriptor_limit};

pub(crate) use self::arguments::PodsArguments;
use crate::signals;

/// Runs the pods until a signal comes.
pub(crate) async fn run(arguments: PodsArguments) -> anyhow::Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let config = arguments.into_config()?;
    let descriptors = raise_descriptor_limit()?;
    // Before anybody is told that we are ready: from then on a signal ends us cleanly.
    let stop = signals::stop_on_signals()?;
    let fleet = Fleet::start(config).await?;
    log::info!(
        "pods: {}, file descriptors at most: {descriptors}",
        fleet.pods().len()
    );

    let ready = serde_json::to_string(&fleet.ready())?;
    writeln!(stdout(), "{ready}").context("stdout is closed: who is to know the addresses?")?;

    stop.cancelled().await;
    log::info!("ending");
    fleet.shutdown().await;
    Ok(())
}
