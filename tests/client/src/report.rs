//! What came of a load: the document that `--json` prints and the tests read.
//!
//! Whatever went wrong has its line in [`Report::failures`]: a report without failures is a
//! load without any.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::pods::PodCount;

/// The outcome of a load, up to the moment it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Where the WebSockets went.
    pub url: String,
    /// How many WebSockets were opened.
    pub connections: Connections,
    /// How many messages came back as they were sent.
    pub messages: Messages,
    /// How long the opening handshakes took; absent if none succeeded.
    pub handshake: Option<Handshake>,
    /// How the pods count their WebSockets, in the order in which the pods were given.
    pub pods: Vec<PodShare>,
    /// The [`imbalance`] of the pods' counts after; absent unless all pods told theirs.
    pub imbalance: Option<f64>,
    /// Everything that went wrong, the most frequent reason first.
    pub failures: Vec<Failure>,
    /// Seconds from the start of the first handshake to this report.
    pub duration_seconds: f64,
}

/// Numbers of WebSockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// To be opened.
    pub requested: u64,
    /// Opened, whatever became of them later.
    pub opened: u64,
    /// Tried, but not opened. With `opened` less than `requested` only after an interruption.
    pub failed: u64,
    /// Opened, and then ended by somebody else.
    pub closed_early: u64,
}

/// Numbers of messages; `sent` is the sum of the other two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Messages {
    /// Sent, or tried to be.
    pub sent: u64,
    /// Echoed with the same bytes.
    pub verified: u64,
    /// Echoed with other bytes, or not at all.
    pub failed: u64,
}

/// How long the successful opening handshakes took, from the first packet of the TCP
/// connection to the answer to the upgrade; percentiles are exact to a thousandth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handshake {
    /// Half of them took no longer, in microseconds.
    pub p50_micros: u64,
    /// Nine of ten took no longer, in microseconds.
    pub p90_micros: u64,
    /// 99 of 100 took no longer, in microseconds.
    pub p99_micros: u64,
    /// The longest, in microseconds.
    pub max_micros: u64,
    /// The arithmetic mean, in microseconds.
    pub mean_micros: f64,
}

impl Handshake {
    /// A summary of `latencies` in microseconds; none without any.
    pub(crate) fn of(latencies: &Histogram<u64>) -> Option<Self> {
        (!latencies.is_empty()).then(|| Self {
            p50_micros: latencies.value_at_quantile(0.5),
            p90_micros: latencies.value_at_quantile(0.9),
            p99_micros: latencies.value_at_quantile(0.99),
            max_micros: latencies.max(),
            mean_micros: latencies.mean(),
        })
    }
}

/// The WebSockets of one pod, as the pod counts them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodShare {
    /// Where the pod was asked, `host:port`.
    pub address: String,
    /// What the pod calls itself, if it says so.
    pub pod_name: Option<String>,
    /// Open before the load; absent if the pod did not tell.
    pub before: Option<u64>,
    /// Open while all WebSockets of the load were; absent if the pod did not tell.
    pub after: Option<u64>,
    /// The difference of the two; negative if others closed more than the load opened.
    pub new: Option<i64>,
}

/// Something that went wrong, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What went wrong, in words.
    pub reason: String,
    /// How often; at least 1.
    pub count: u64,
}

impl Report {
    /// Adds what the pods told before and after, one element per pod in the same order.
    ///
    /// A pod that did not answer is a failure, once for each time.
    pub fn add_pods(&mut self, before: &[PodCount], after: &[PodCount]) {
        for (before, after) in before.iter().zip(after) {
            let (earlier, later) = (before.connections(), after.connections());
            self.pods.push(PodShare {
                address: after.address.to_string(),
                pod_name: after.pod_name().or(before.pod_name()).map(str::to_owned),
                before: earlier,
                after: later,
                new: earlier
                    .zip(later)
                    .map(|(earlier, later)| difference(later, earlier)),
            });
            for count in [before, after] {
                if let Err(reason) = &count.answer {
                    let reason = format!("pod {}: {reason}", count.address);
                    self.add_failure(Failure { reason, count: 1 });
                }
            }
        }
        let counts: Option<Vec<u64>> = self.pods.iter().map(|pod| pod.after).collect();
        self.imbalance = counts
            .filter(|counts| !counts.is_empty())
            .map(|counts| imbalance(&counts));
    }

    /// Counts a failure and keeps the most frequent first.
    pub(crate) fn add_failure(&mut self, failure: Failure) {
        match self
            .failures
            .iter_mut()
            .find(|known| known.reason == failure.reason)
        {
            Some(known) => known.count += failure.count,
            None => self.failures.push(failure),
        }
        // The sort is stable: reasons that are equally frequent stay in order.
        self.failures
            .sort_by_key(|failure| std::cmp::Reverse(failure.count));
    }
}

/// How uneven counts are: the largest divided by their mean.
///
/// From 1.0, all the same, to the number of counts, all on one. Also 1.0 where the mean is
/// 0, or where there are no counts: nothing is spread evenly.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio needs no more than 52 bits of its counts"
)]
pub fn imbalance(counts: &[u64]) -> f64 {
    let sum: u64 = counts.iter().sum();
    match counts.iter().max() {
        Some(&largest) if sum > 0 => largest as f64 * counts.len() as f64 / sum as f64,
        _ => 1.0,
    }
}

fn difference(later: u64, earlier: u64) -> i64 {
    let magnitude = i64::try_from(later.abs_diff(earlier)).unwrap_or(i64::MAX);
    if later < earlier {
        -magnitude
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "these ratios are exact")]
    fn imbalance_is_the_largest_to_the_mean() {
        assert_eq!(imbalance(&[5, 5, 5]), 1.0);
        assert_eq!(imbalance(&[10, 0]), 2.0);
        assert_eq!(imbalance(&[3, 1, 2]), 1.5);
        assert_eq!(imbalance(&[0, 0]), 1.0);
        assert_eq!(imbalance(&[]), 1.0);
    }

    #[test]
    fn a_pod_that_lost_connections_has_a_negative_difference() {
        assert_eq!(difference(3, 5), -2);
        assert_eq!(difference(5, 3), 2);
        assert_eq!(difference(u64::MAX, 0), i64::MAX);
    }
}
