//! What is wrong around the filter, as far as it can be told from what the filter sees: a likely
//! cause in one sentence, and the lines that help.
//!
//! Workers note what they see, and only where there is something to note, as [`Findings`] that all
//! of them share. The worker that polls a service judges them with the service's table, writes what
//! it comes to beside them, and logs what has begun and what is over. Whoever shows warnings reads
//! that.

mod findings;
mod judgment;
mod kind;

pub use findings::{Findings, Key};
pub use judgment::{Judge, Verdict};
pub use kind::{Kind, Warning};
