//! How much the pods hold, and which of them get the next WebSocket: pure decisions over records,
//! rules and the time.
//!
//! A [`View`] is how a table's records look at a moment: what each pod should hold by then
//! ([`fleet`] has the theory), and whether it gets new WebSockets ([`PodState`]). [`rank()`] and
//! [`EvenShare`] go by nothing else.

mod even_share;
pub mod fleet;
pub mod headroom;
mod loads;
pub mod passive_health;
mod pod_state;
mod rank;
mod slow_start;
mod view;

pub use even_share::EvenShare;
pub use loads::Loads;
pub use passive_health::Health;
pub use pod_state::{PodState, Standing};
pub use rank::{Load, Ranked, Ranking, rank, rank_by};
pub use view::View;
