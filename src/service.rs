//! One service, as one worker sees it: all that belongs to it in one value.
//!
//! What the workers share of a service is in its table; here is what it takes to get there, and
//! what only this worker has.

mod announcer;
mod balancer;
mod held;
mod names;
mod state;
mod statistics;

pub use announcer::Announcer;
pub use balancer::Balancer;
pub use held::HeldWebSockets;
pub use names::{Directory, NameCache, PodNames, names_in};
pub use state::Service;
pub use statistics::{PREFIX, ServiceStatistics};
