//! A WebSocket connection balancer for Envoy and Istio, as a proxy-wasm HTTP filter.
//!
//! # The way of a request
//! `proxy` reads the head, asks [`upgrade`] for a decision and applies it. A decision is
//! [`select`]'s ranking of the pods in the [`table`], which all workers share through [`store`].
//! The table gets its pods from the configuration or from [`discovery`], its counts from [`poll`],
//! and what this Envoy opened and closed since from [`upgrade`]. How these make an estimate, when
//! other gateways do as this one does, is in [`fleet`] and [`standing`].
//!
//! # Invariants
//! - Nothing a client, a pod, Envoy or a configuration sends can end the VM: that would end every
//!   WebSocket of the worker.
//! - No WebSocket message enters the VM.
//! - Only `proxy` calls the SDK; every other module is pure but for the [`host`] it is handed.

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
pub mod errand;
pub mod fleet;
pub mod handshake;
pub mod host;
pub mod log_budget;
pub mod metrics;
pub mod names;
pub mod pod;
pub mod poll;
pub mod rebalance;
pub mod registry;
pub mod report;
pub mod select;
pub mod slow_start;
pub mod standing;
pub mod status;
pub mod store;
pub mod table;
pub mod upgrade;

#[cfg(target_arch = "wasm32")]
mod proxy;
