//! Asking: the pods for their counts, and Envoy, where the configuration does not list them, for
//! the pods.
//!
//! The table says when each question is due. One worker asks, the table's *poller*; it claims
//! what is due by compare-and-swap before it asks, so everything is asked once per interval by
//! the whole process. The others watch: when a question is overdue by half an interval, its poller
//! is dead or stalled, and the worker that notices takes the role over. Only workers of the service's
//! [current](crate::table::Current) configuration ask.
//!
//! All pods of a service are due together: that is a round. Where they are many they are asked in
//! portions, and their answers go into the table together.
//!
//! Within a burst the pods are asked before their time, by whichever worker sees that it is needed. So
//! is a pod that has refused a connection or was passed by, at once.

mod burst;
mod calls;
mod portion;
mod schedule;

pub use burst::{EARLY_LOOK, look_early};
pub use calls::Polls;
pub use portion::{PORTION, SHORTEST_TICK, pause};
pub use schedule::{
    Asker, Claim, Question, claim, claim_early, first_interval, is_abandoned, is_due, is_early_due,
    tick_period,
};
