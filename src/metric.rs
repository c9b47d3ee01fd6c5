//! What a pod answers at its metric path, or adds to its answer to a handshake: where the count is in
//! it, what else it says, and why it may be of no use.
//!
//! The bytes come from a pod and may be anything. Past this room they are a [`PodReport`], or a
//! [`PollFailure`] that says what is wrong with them; or a [`LoadReport`], which says so itself.

mod coding;
mod complaint;
mod count;
mod failure;
mod orca;
mod pointer;
mod report;
mod series;
mod source;

pub use coding::Coding;
pub use complaint::Complaint;
pub use failure::{DOCUMENT_LIMIT, PollFailure, REPORT_LIMIT};
pub use orca::{
    BINARY_HEADER as ORCA_BINARY_HEADER, HEADER as ORCA_HEADER, LoadReport, LoadReportHeaders,
    NamedMetric, NamedMetricError,
};
pub use pointer::{Pointer, PointerError};
pub use report::{PodReport, Weight};
pub use series::{Selector, SelectorError};
pub use source::Metric;
