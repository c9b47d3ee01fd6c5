//! The table of a service's pods that all workers share, and all configurations of the service: what
//! each pod last reported, what this Envoy did since, and how the polls went.
//!
//! There are two kinds of changes, and no others.
//! - An [`Event`] is something that happened outside: a handshake, a close, the answer to a poll.
//!   It is never lost. Where other workers are too fast, it waits in its worker and goes in later.
//!   What it turned out to mean comes back as an [`Effect`], whenever it does.
//! - A *claim* is something that a worker is about to do: ask pods, log a change, close a
//!   WebSocket, make its configuration the current one. Only who claims it does it, so it is done once by the whole process. A claim that
//!   fails is dropped: it is as good a moment later.

mod backlog;
mod current;
mod event;
mod handover;
mod ledger;
mod progress;
mod roll;
mod roster;
mod store;
mod traffic;
mod value;

pub use backlog::Backlog;
pub use current::{Current, Look, PATIENCE};
pub use event::{Effect, Event};
pub use handover::{Handover, Part};
pub use ledger::{Holding, Ledger};
pub use progress::Progress;
pub use roll::{BEAT, Roll, StruckOff, lease, roll_key};
pub use store::{Contended, SharedTable, Store, key, read};
pub use value::{LAYOUT, StateChange, Table};
