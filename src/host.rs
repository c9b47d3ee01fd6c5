//! What the pure part of the filter asks of Envoy: three small traits.
//!
//! `proxy` implements them on the host's functions, the tests on a fake. None of them can fail
//! in a way that must end the VM: what can go wrong is a value of the signature.

use std::time::Duration;

#[cfg(test)]
pub(crate) mod fake;

/// Values that all workers share.
pub trait SharedData {
    /// The value of `key` and its version; none where there is no value.
    fn read(&self, key: &str) -> Option<(Vec<u8>, Version)>;

    /// Sets `key`. With a version: only if the value still has that one.
    ///
    /// # Errors
    /// [`Outdated`] where another worker was faster.
    fn write(&self, key: &str, value: &[u8], version: Option<Version>) -> Result<(), Outdated>;
}

/// The version of a shared value, for compare-and-swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub u32);

/// The value has changed since it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outdated;

/// Envoy's statistics.
pub trait Metrics {
    /// The counter named `name`, the same one in all workers.
    fn counter(&self, name: &str) -> MetricId;

    /// The gauge named `name`, the same one in all workers.
    fn gauge(&self, name: &str) -> MetricId;

    /// Adds `n` to a counter.
    fn add(&self, counter: MetricId, n: u32);

    /// Sets a gauge.
    fn set(&self, gauge: MetricId, value: u64);
}

/// A statistic of Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricId(pub u32);

/// HTTP calls to the hosts of a cluster.
pub trait Calls {
    /// Sends `GET path` to a host of `cluster`: the one that `steering` names, a header and its
    /// value. The answer arrives with the token that is returned.
    ///
    /// # Errors
    /// [`NotSent`] where Envoy does not take the call.
    fn call(
        &self,
        cluster: &str,
        path: &str,
        steering: Option<(&str, &str)>,
        timeout: Duration,
    ) -> Result<CallToken, NotSent>;
}

/// Tells the answer to one call from another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallToken(pub u32);

/// Envoy did not take a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSent;

/// All of them.
pub trait Host: SharedData + Metrics + Calls {}

impl<T: SharedData + Metrics + Calls> Host for T {}
