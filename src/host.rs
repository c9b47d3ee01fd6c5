//! What the filter asks of the proxy that runs it: small traits, each named for what a balancer
//! needs.
//!
//! `proxy` implements them on Envoy's functions for Wasm modules, the tests on a fake. None of
//! them can fail in a way that must end the VM: what can go wrong is a value of the signature.
//! [`Shell`](crate::shell::Shell) is all of them together, with the table.

mod header_map;

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

pub use self::header_map::HeaderMap;

use crate::clock::Timestamp;
use crate::metric::Coding;
use crate::pod::{DiscoveryFailure, HostList};
use crate::uri::is_host_name;

/// The time.
pub trait Clock {
    /// The monotonic clock, which all workers share.
    fn now(&self) -> Timestamp;

    /// The clock on the wall, to be shown to people and for nothing else.
    fn date(&self) -> SystemTime;
}

/// The worker's timer.
pub trait Timer {
    /// Has the worker tick after `period`, and again and again.
    fn set_tick_period(&self, period: Duration);
}

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

/// The proxy's statistics.
pub trait Statistics {
    /// The counter named `name`, the same one in all workers.
    fn counter(&self, name: &str) -> StatisticId;

    /// The gauge named `name`, the same one in all workers.
    fn gauge(&self, name: &str) -> StatisticId;

    /// Adds `n` to a counter.
    fn add(&self, counter: StatisticId, n: u32);

    /// Sets a gauge.
    fn set(&self, gauge: StatisticId, value: u64);

    /// What all workers have made of a statistic so far; zero where the proxy keeps none of its name.
    fn value(&self, statistic: StatisticId) -> u64;
}

/// A statistic of the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StatisticId(pub u32);

/// HTTP calls to the hosts of a cluster.
pub trait Calls {
    /// Sends a `GET` request. The answer arrives with the token that is returned.
    ///
    /// # Errors
    /// [`NotSent`] where the proxy does not take the call.
    fn get(&self, call: &Get<'_>) -> Result<CallToken, NotSent>;
}

/// A `GET` request to a host of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Get<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// Which of its hosts, as the proxy names it; none for any of them.
    pub upstream: Option<&'a str>,
    /// The `host` that the request names (RFC 9110, section 7.2).
    pub authority: &'a str,
    /// Its path.
    pub path: &'a str,
    /// Its other header fields, names in lower case; the proxy's shell adds who asks.
    pub headers: &'a [(&'a str, &'a str)],
    /// How long the answer may take.
    pub timeout: Duration,
}

/// The `host` of a request to a cluster as a whole: its name, where that can be a host (RFC 9110,
/// section 7.2). Names such as Istio's can't, and servers refuse them.
#[must_use]
pub fn authority_of(cluster: &str) -> &str {
    if is_host_name(cluster) {
        cluster
    } else {
        "localhost"
    }
}

/// Tells the answer to one call from another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallToken(pub u32);

/// The proxy did not take a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSent;

/// The answer to a call.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// The call failed: no status, no headers.
    Nothing,
    /// A response; of a body over the limit, at least one byte more than the limit.
    Response {
        /// HTTP status.
        status: u16,
        /// The body.
        body: &'a [u8],
    },
    /// A response with a body in a content coding, which is not read.
    Encoded {
        /// HTTP status.
        status: u16,
        /// The coding.
        coding: Coding,
    },
}

/// Which hosts the proxy's clusters have.
pub trait Hosts {
    /// Asks for the hosts of `cluster`, by way of `admin_cluster`. The answer arrives with the
    /// token that is returned.
    ///
    /// # Errors
    /// [`NotSent`] where the proxy does not take the call.
    fn ask_for_hosts(
        &self,
        cluster: &str,
        admin_cluster: &str,
        timeout: Duration,
    ) -> Result<CallToken, NotSent>;

    /// Reads the answer.
    ///
    /// # Errors
    /// Where it has no list of the cluster's hosts.
    fn read_hosts(&self, cluster: &str, answer: Answer<'_>) -> Result<HostList, DiscoveryFailure>;
}

/// One HTTP request that goes through the proxy, and its response. Bytes that clients and pods
/// send need not be UTF-8.
pub trait Request {
    /// All header fields.
    fn header_map(&self, head: Head) -> HeaderMap;

    /// The value of a header field; none where there is none.
    fn header(&self, head: Head, name: &str) -> Option<Vec<u8>>;

    /// Sets a header field, or removes it.
    fn set_header(&self, head: Head, name: &str, value: Option<&str>);

    /// Sets a header field to bytes that need not be UTF-8.
    fn set_header_bytes(&self, head: Head, name: &str, value: &[u8]);

    /// The value of an attribute
    /// (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes>).
    fn attribute(&self, path: &[&str]) -> Option<Vec<u8>>;

    /// Keeps `value` with the request, where the access log finds it under `name`.
    fn set_filter_state(&self, name: &str, value: &str);

    /// Has the proxy look for the route anew.
    fn clear_route_cache(&self);
}

/// Which of a request's two heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Head {
    /// The request's.
    Request,
    /// The response's.
    Response,
}

/// An answer of the filter's own to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u32,
    /// Header fields.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body. For a HEAD request Envoy leaves it out.
    pub body: Vec<u8>,
}
