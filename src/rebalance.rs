//! Rebalancing: old WebSockets are closed on pods that hold too many, so that their clients come
//! back and are sent to the pods with the fewest. Off unless configured.
//!
//! # What keeps it from doing harm
//! - **Only what is needed.** A pod keeps `threshold` times its [even share](crate::load::EvenShare),
//!   which is more than the share itself, and no more are closed than the pods below their share
//!   have room for. Where a report may or may not count what happened while it was on its way,
//!   the pod is taken to hold the fewer: the next report tells.
//! - **Only this gateway's part.** Of what a pod has too many each gateway closes the part that it
//!   opened. Of the closes that are allowed in a second it takes its part of all connections.
//!   Nobody opened a connection of another, so the parts of the fleet add up to no more than one,
//!   and no gateway needs to know of the others.
//! - **Only while they come back.** Closed WebSockets count as there until as many new ones have
//!   come. While too many are missing, no more are closed: clients that don't reconnect lose
//!   nothing beyond those.
//! - **Only in fair weather.** While a pod fails, or has just come up, or a count is old, nothing
//!   is closed.
//!
//! [`plan`] decides, over the table alone. The first worker whose timer comes by takes what is
//! allowed by then, from its own WebSockets, for no other worker can close them.

mod close;
mod plan;

pub use close::{Closing, MOST_AT_ONCE, claim, close};
pub use plan::{Overload, Plan, plan};
