//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once.

use std::process;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// 128 and the number of SIGINT, as shells report it.
const INTERRUPTED: i32 = 130;

/// A token that is cancelled by the first signal.
pub(crate) fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        stopped.cancel();
        either(&mut interrupt, &mut terminate).await;
        process::exit(INTERRUPTED);
    });
    Ok(stop)
}

fn listen(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot listen for the signals that end the program")
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
}
