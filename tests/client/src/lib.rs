//! A load of WebSockets: open many through a gateway, verify that each echoes, hold them,
//! close them, and report how they spread over the pods.
//!
//! [`Load`] says what to open and opens it; [`Held`] keeps the WebSockets open; [`Report`]
//! is what came of it; [`Pods`] asks the pods how many WebSockets they count themselves.
//! The tool's `wsbalancer load` is these four behind a command line, and its `wsbalancer watch` shows
//! the [`Status`] that the balancer tells of itself at a [`StatusUrl`].
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use wsbalancer_client::Load;
//!
//! let load = Load { connections: 1000, ..Load::new("ws://localhost:8080/agents".parse()?) };
//! let mut held = load.open().await;
//! held.exchange(3).await;
//! held.close_some(500).await;
//! let report = held.close().await;
//! assert!(report.failures.is_empty(), "{:?}", report.failures);
//! # Ok(())
//! # }
//! ```

mod connection;
mod fetch;
mod handshake;
mod held;
mod load;
mod pacing;
mod payload;
mod pods;
mod report;
mod status;
mod tally;
mod target;
mod tls;

pub use held::Held;
pub use load::{Load, Progress};
pub use payload::MessageKind;
pub use pods::{DEFAULT_METRIC_PATH, Metric, PodAddress, PodCount, Pods};
pub use report::{Connections, Failure, Handshake, Messages, PodShare, Report, imbalance};
pub use status::{
    DiscoveryStatus, Gravity, PodState, PodStatus, ServiceStatus, Status, StatusUrl, Verdict,
    Warning,
};
pub use target::{InvalidTarget, Target};
