//! The test server: a fleet of pods that echo WebSockets and tell the true number of them.
//!
//! One process runs many pods, each on a listener of its own. A pod echoes WebSockets on any
//! path, over HTTP/1.1 and over HTTP/2 (RFC 8441), answers `GET /metric` with its count, and
//! tells on every other request what has reached it. The same count stands at `/metrics`, as
//! Prometheus reads it, and in the JSON document at `/stats`. What a pod says beside its count,
//! and each way in which it can fail, is a switch that changes at run time, by a method of
//! [`Pod`] or over the control endpoint.
//!
//! The tool's `wsbalancer pods` is this behind a command line.
//!
//! Nothing in here rounds, caches or guesses a count: a test may compare it with `==`. What
//! changes a pod has taken effect once the call returns, so that no test needs to sleep.
//!
//! ```
//! # async fn example() -> anyhow::Result<()> {
//! use wsbalancer_backend::{Fleet, FleetConfig, MetricBehavior};
//!
//! let fleet = Fleet::start(FleetConfig::local(3)).await?;
//! let pod = &fleet.pods()[0];
//! pod.answer_metric(MetricBehavior::Hang);
//! // … open WebSockets to pod.address() …
//! pod.drop_connections().await;
//! assert_eq!(pod.open(), 0);
//! # Ok(())
//! # }
//! ```

mod config;
mod control;
mod door;
mod fleet;
mod form;
mod handshake;
mod host;
mod load_report;
mod metric;
mod pod;
mod service;
mod status;
mod tally;
mod tls;

pub use config::{FleetConfig, PodConfig, Target};
pub use fleet::{Fleet, Ready, raise_descriptor_limit};
pub use handshake::HandshakeBehavior;
pub use load_report::LoadReport;
pub use metric::{Identity, MetricBehavior};
pub use pod::{Pod, PodChange, PodState};
pub use service::{HeaderLists, RequestSeen, Switches};
pub use tally::Counters;
pub use tls::Tls;
