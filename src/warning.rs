//! What is wrong around the filter, as far as it can be told from what the filter sees: the likely
//! cause in one sentence, and the lines that help.
//!
//! Workers note what they see, and only where there is something to note, as [`Findings`] that all
//! of them share. The worker that polls a service judges them together with the service's table,
//! writes the [`Warning`]s that it comes to beside them, and logs what has begun and what is over.
//! Whoever shows warnings reads those.

mod advice;
mod capacity;
mod findings;
mod judgment;
mod kind;
mod steering;

pub use findings::{Findings, Key, Sighting};
pub use judgment::{Changes, Judge, judge_gateway};
pub use kind::{Kind, Warning};
pub use steering::{Mismatch, Server, Steering};
