//! A WebSocket upgrade: the choice of its pod, how Envoy is told, and its life until the WebSocket
//! ends.

mod choice;
mod explanation;
mod handshake;
mod life;
pub mod route_by;

pub use choice::{Candidate, Choice};
pub use explanation::Explanation;
pub use handshake::{asks_for_websocket, key};
pub use life::{Ending, Refusal, Upgrade, Upstream};
