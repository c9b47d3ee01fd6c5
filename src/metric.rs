//! What a pod answers at its metric path: where the count is in it, what else it says, and why it
//! may be of no use.
//!
//! The bytes come from a pod and may be anything. Past this room they are a [`PodReport`], or a
//! [`PollFailure`] that says what is wrong with them.

mod coding;
mod complaint;
mod count;
mod failure;
mod pointer;
mod report;
mod series;
mod source;

pub use coding::Coding;
pub use complaint::Complaint;
pub use failure::{EXPOSITION_LIMIT, JSON_LIMIT, PollFailure};
pub use pointer::{Pointer, PointerError};
pub use report::{PodReport, Weight};
pub use series::{Selector, SelectorError};
pub use source::Metric;
