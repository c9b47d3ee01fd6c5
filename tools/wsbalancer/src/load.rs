//! `wsbalancer load`: a load of WebSockets.
//!
//! Progress and remarks go to standard error; the report alone to standard output.

mod arguments;
mod progress;
mod table;

use std::io::{self, Write};

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use wsbalancer_backend::raise_descriptor_limit;
use wsbalancer_client::{Held, Report};

pub(crate) use self::arguments::LoadArguments;
use self::progress::Progress;
use crate::{signals, terminal};

/// File descriptors of the process besides those of the connections, roughly.
const SPARE_DESCRIPTORS: u64 = 64;

/// Opens WebSockets and closes them; returns whether all went well.
pub(crate) async fn run(arguments: &LoadArguments) -> anyhow::Result<bool> {
    raise_limit(arguments)?;
    let stop = signals::stop_on_signals()?;
    if arguments.keep {
        report_and_keep(arguments, &stop).await
    } else {
        hold_and_report(arguments, &stop).await
    }
}

/// Each connection takes a file descriptor, and the soft limit is often 1024.
fn raise_limit(arguments: &LoadArguments) -> anyhow::Result<()> {
    let limit = raise_descriptor_limit()?;
    if u64::from(arguments.connections) + SPARE_DESCRIPTORS > limit {
        eprintln!("only {limit} files may be open: raise the hard limit, as with `ulimit -Hn`");
    }
    Ok(())
}

/// Opens, holds for the given time, closes, reports; returns whether all went well.
async fn hold_and_report(
    arguments: &LoadArguments,
    stop: &CancellationToken,
) -> anyhow::Result<bool> {
    let progress = Progress::start(arguments.connections);
    let Opened { held, pods } = open(arguments, stop, &progress).await;
    if !arguments.hold.is_zero() {
        progress.hold(held.len(), arguments.hold);
        tokio::select! {
            () = tokio::time::sleep(arguments.hold) => (),
            () = stop.cancelled() => (),
            // Nothing is left to hold.
            () = held.shrunk_to(0) => (),
        }
    }
    progress.close();
    let mut report = held.close().await;
    pods.add_to(&mut report);
    progress.finish();
    print(arguments, &report)?;
    Ok(verdict(arguments, &report))
}

/// Opens, reports, holds until a signal comes, closes; returns whether all went well.
async fn report_and_keep(
    arguments: &LoadArguments,
    stop: &CancellationToken,
) -> anyhow::Result<bool> {
    let progress = Progress::start(arguments.connections);
    let Opened { held, pods } = open(arguments, stop, &progress).await;
    progress.finish();
    let mut report = held.report();
    pods.add_to(&mut report);
    print(arguments, &report)?;
    let fine = verdict(arguments, &report);
    eprintln!("holding {} connections until Ctrl-C", held.len());
    stop.cancelled().await;
    let lost_before = report.connections.closed_early;
    let lost = held.close().await.connections.closed_early - lost_before;
    if lost > 0 {
        eprintln!("{lost} connections closed early while they were held");
    }
    Ok(fine && lost == 0)
}

struct Opened {
    held: Held,
    pods: PodCounts,
}

/// What the pods told before and after.
struct PodCounts {
    before: Vec<wsbalancer_client::PodCount>,
    after: Vec<wsbalancer_client::PodCount>,
}

impl PodCounts {
    fn add_to(&self, report: &mut Report) {
        report.add_pods(&self.before, &self.after);
    }
}

async fn open(arguments: &LoadArguments, stop: &CancellationToken, progress: &Progress) -> Opened {
    let pods = arguments.pods().resolved().await;
    let before = pods.count().await;
    let held = arguments
        .load()
        .open_until(stop, |so_far| progress.advance(so_far))
        .await;
    let after = pods.count().await;
    Opened {
        held,
        pods: PodCounts { before, after },
    }
}

fn print(arguments: &LoadArguments, report: &Report) -> anyhow::Result<()> {
    let mut document = if arguments.json {
        serde_json::to_string(report).context("cannot write the report as JSON")?
    } else {
        table::render(report, arguments.max_imbalance, terminal::width())
    };
    document.push('\n');
    let mut output = io::stdout().lock();
    output
        .write_all(document.as_bytes())
        .and_then(|()| output.flush())
        .context("cannot write the report to standard output")
}

fn verdict(arguments: &LoadArguments, report: &Report) -> bool {
    let too_uneven = arguments
        .max_imbalance
        .zip(report.imbalance)
        .filter(|(most, imbalance)| imbalance > most);
    if let Some((most, imbalance)) = too_uneven {
        eprintln!("the imbalance of {imbalance:.4} exceeds the {most} of --max-imbalance");
    }
    report.failures.is_empty() && too_uneven.is_none()
}
