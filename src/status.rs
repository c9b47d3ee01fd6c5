//! What the filter shows of itself, at a path of its own: a page for people, JSON for programs,
//! and Prometheus' text format. All of it comes from shared data, so that any worker can answer,
//! and nothing is asked of any pod.

mod answer;
mod exposition;
mod page;
mod registry;
mod response;
mod snapshot;
mod state;
mod verdict;

pub use answer::{StatusRequest, query, respond};
pub use registry::{has_services, register};
