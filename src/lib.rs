//! A WebSocket connection balancer for Envoy and Istio, as a proxy-wasm HTTP filter.
//!
//! `ARCHITECTURE.md` has the map, and the ways of a request, of an answer, of a tick and of the
//! configuration.
//!
//! # Invariants
//! - Nothing a client, a pod, Envoy or a configuration sends can end the VM: that would end every
//!   WebSocket of the worker.
//! - No WebSocket message enters the VM.
//! - Only `proxy` calls the SDK; every other module is pure but for the [`shell`] it is handed.
//! - No two modules use each other, directly or by way of others.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]
#![cfg_attr(
    test,
    allow(
        clippy::float_cmp,
        reason = "the tests' counts are whole numbers, which floats hold exactly"
    )
)]

pub mod balancer;
pub mod clock;
pub mod config;
pub mod discovery;
pub mod exchange;
pub mod host;
pub mod load;
pub mod log_budget;
pub mod metric;
pub mod num;
pub mod origin;
pub mod pod;
pub mod poll;
pub mod rebalance;
pub mod service;
pub mod session;
pub mod sharing;
pub mod shell;
pub mod status;
pub mod table;
pub mod upgrade;
pub mod uri;
pub mod warning;
pub mod worker;

#[cfg(target_arch = "wasm32")]
mod proxy;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
