//! What has happened so far, written by all connections and read by the reports.
//!
//! It lives in a [`watch`] channel: the connections write, whoever waits for a number of
//! open connections is woken, and a report is a look at the latest state.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::load::Progress;
use crate::report::{Connections, Failure, Handshake, Messages, Report};

/// The handle by which the connections of a load write their [`Tally`].
pub(crate) type Ledger = watch::Sender<Tally>;

/// Three significant digits: the error of a percentile is at most a thousandth.
const LATENCY_DIGITS: u8 = 3;

/// The counts of one load.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) connections: Connections,
    pub(crate) messages: Messages,
    /// Connections open at this moment.
    pub(crate) open: usize,
    /// Microseconds from the first packet to the upgrade.
    latencies: Histogram<u64>,
    failures: BTreeMap<String, u64>,
    started: Instant,
}

impl Tally {
    pub(crate) fn new(requested: u32) -> Self {
        Self {
            connections: Connections {
                requested: u64::from(requested),
                ..Connections::default()
            },
            messages: Messages::default(),
            open: 0,
            latencies: Histogram::new(LATENCY_DIGITS).expect("a histogram can have three digits"),
            failures: BTreeMap::new(),
            started: Instant::now(),
        }
    }

    pub(crate) fn opened(&mut self, latency: Duration) {
        self.connections.opened += 1;
        self.open += 1;
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies
            .record(micros)
            .expect("a histogram without bounds grows as needed");
    }

    pub(crate) fn not_opened(&mut self, count: u32, reason: String) {
        self.connections.failed += u64::from(count);
        self.blame(u64::from(count), reason);
    }

    /// Connections that nobody tried to open because the user wanted an end.
    pub(crate) fn not_tried(&mut self, count: u32) {
        self.blame(
            u64::from(count),
            "interrupted before it was opened".to_owned(),
        );
    }

    pub(crate) fn closed(&mut self) {
        self.open -= 1;
    }

    pub(crate) fn closed_early(&mut self, reason: &str) {
        self.open -= 1;
        self.connections.closed_early += 1;
        self.blame(1, format!("closed early: {reason}"));
    }

    pub(crate) fn verified(&mut self) {
        self.messages.sent += 1;
        self.messages.verified += 1;
    }

    /// A message without its echo; no reason where the end of its connection gives one.
    pub(crate) fn not_verified(&mut self, reason: Option<String>) {
        self.messages.sent += 1;
        self.messages.failed += 1;
        if let Some(reason) = reason {
            self.blame(1, format!("message: {reason}"));
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            opened: self.connections.opened,
            failed: self.connections.failed,
        }
    }

    pub(crate) fn report(&self, url: String) -> Report {
        let mut report = Report {
            url,
            connections: self.connections,
            messages: self.messages,
            handshake: Handshake::of(&self.latencies),
            pods: Vec::new(),
            imbalance: None,
            failures: Vec::new(),
            duration_seconds: self.started.elapsed().as_secs_f64(),
        };
        for (reason, &count) in &self.failures {
            report.add_failure(Failure {
                reason: reason.clone(),
                count,
            });
        }
        report
    }

    fn blame(&mut self, count: u64, reason: String) {
        if count > 0 {
            *self.failures.entry(reason).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_of_any_length_have_their_percentiles() {
        let mut tally = Tally::new(100);
        for millis in 1..=100 {
            tally.opened(Duration::from_millis(millis * 100));
        }
        let handshake = tally
            .report(String::new())
            .handshake
            .expect("handshakes succeeded");
        for (micros, expected) in [
            (handshake.p50_micros, 5_000_000),
            (handshake.p90_micros, 9_000_000),
            (handshake.p99_micros, 9_900_000),
            (handshake.max_micros, 10_000_000),
        ] {
            assert!(
                micros.abs_diff(expected) <= expected / 1000,
                "{micros} for {expected}"
            );
        }
    }

    #[test]
    fn an_endless_latency_is_no_panic() {
        let mut tally = Tally::new(1);
        tally.opened(Duration::MAX);
        let handshake = tally
            .report(String::new())
            .handshake
            .expect("a handshake succeeded");
        assert_eq!(handshake.max_micros, u64::MAX);
    }

    #[test]
    fn the_same_reason_is_counted_and_the_most_frequent_comes_first() {
        let mut tally = Tally::new(4);
        tally.not_opened(1, "connect: refused".to_owned());
        tally.opened(Duration::from_millis(1));
        tally.closed_early("code 1001");
        tally.opened(Duration::from_millis(1));
        tally.closed_early("code 1001");
        tally.not_tried(0);
        let failures = tally.report(String::new()).failures;
        let failures: Vec<(&str, u64)> = failures
            .iter()
            .map(|failure| (failure.reason.as_str(), failure.count))
            .collect();
        assert_eq!(
            failures,
            [("closed early: code 1001", 2), ("connect: refused", 1)]
        );
        assert_eq!(tally.open, 0);
    }
}
