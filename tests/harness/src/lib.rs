//! A real Envoy as a child process, for whoever wants to see the filter at work: the end-to-end
//! tests, the demo and the benchmark.
//!
//! A [`Sample`] is Envoy's configuration, read from the sample that the reader of this project
//! starts with, and changed here and there. An [`Envoy`] runs it, and is gone when it is dropped,
//! as any [`Child`] is. [`Http`] asks it, or another. Everything here blocks; nothing needs an async
//! runtime.
//!
//! ```no_run
//! use std::time::Duration;
//! use wsbalancer_harness::{Envoy, Sample};
//!
//! # fn main() -> anyhow::Result<()> {
//! let pods = ["127.0.0.1:9001".parse()?, "127.0.0.1:9002".parse()?];
//! let sample = Sample::standard()?
//!     .pods(&pods)
//!     .option("cacheTTL", "1s");
//! let envoy = Envoy::options().concurrency(1).start(&sample)?;
//! envoy.wait_for_filter_stat("pods_usable", |usable| usable == 2, Duration::from_secs(10))?;
//! println!("ws://{}/", envoy.address());
//! # Ok(())
//! # }
//! ```

mod admin;
mod child;
mod envoy;
mod http;
mod log;
mod loopback;
mod options;
mod process;
mod sample;
mod version;
mod wait;
mod workspace;

pub use child::Child;
pub use envoy::Envoy;
pub use http::Http;
pub use loopback::own_address;
pub use options::Options;
pub use sample::Sample;
pub use wait::wait_until;
