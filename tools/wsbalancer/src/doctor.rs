//! `wsbalancer doctor`: what a running Envoy says of itself, and what in it will hurt.
//!
//! Each rule is a module, and looks at what was read; only [`admin`] asks, and only by GET.

pub mod admin;
mod finding;
mod rules;
mod snapshot;

pub use finding::{Finding, Severity};
pub use snapshot::Snapshot;

/// What all rules find, the worst first.
#[must_use]
pub fn examine(envoy: &Snapshot) -> Vec<Finding> {
    let mut findings: Vec<Finding> = rules::ALL.iter().flat_map(|rule| rule(envoy)).collect();
    findings.sort();
    findings.dedup();
    findings
}
