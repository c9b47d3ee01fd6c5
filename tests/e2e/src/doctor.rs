//! What `wsbalancer doctor` finds in a running Envoy.

use std::collections::BTreeSet;

use anyhow::Result;
use tokio::task::block_in_place;
pub use wsbalancer_cli::doctor::Finding;
use wsbalancer_cli::doctor::{admin, examine};
use wsbalancer_harness::{Envoy, wait_until};

use crate::PATIENCE;

/// What it finds.
///
/// # Errors
/// When Envoy does not answer.
pub fn findings(envoy: &Envoy) -> Result<Vec<Finding>> {
    let snapshot = block_in_place(|| admin::read(&envoy.admin().to_string()))?;
    Ok(examine(&snapshot))
}

/// Waits until exactly these rules find something.
///
/// # Errors
/// When they never do, with what was found instead.
pub fn until_found(envoy: &Envoy, rules: &[&str]) -> Result<Vec<Finding>> {
    let expect: BTreeSet<&str> = rules.iter().copied().collect();
    let mut last = Ok(Vec::new());
    let found = block_in_place(|| {
        wait_until(&format!("the doctor's {rules:?}"), PATIENCE, || {
            last = findings(envoy);
            let found = last.as_ref().ok()?;
            let rules: BTreeSet<&str> = found.iter().map(|finding| finding.rule).collect();
            (rules == expect).then(|| found.clone())
        })
    });
    found.map_err(|error| error.context(format!("{last:#?}")))
}
