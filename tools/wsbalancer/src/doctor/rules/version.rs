//! What an old Envoy costs.

use super::balanced;
use crate::doctor::finding::Finding;
use crate::doctor::snapshot::Snapshot;

/// From this version on `/clusters` takes a filter.
const FILTERED: (u32, u32) = (1, 38);

/// With fewer clusters the whole list is a small one.
const MANY: usize = 100;

pub(super) fn look(envoy: &Snapshot) -> Vec<Finding> {
    let clusters = envoy.clusters.len();
    match envoy.version {
        Some(version @ (major, minor))
            if version < FILTERED && clusters > MANY && !balanced(envoy).is_empty() =>
        {
            vec![Finding::warning(
                "version",
                "Envoy",
                format!(
                    "{major}.{minor} lists all {clusters} clusters at each look for pods, so the \
                     filter looks less often"
                ),
                "take Envoy 1.38 or later, or let this gateway have fewer clusters",
            )]
        }
        _ => Vec::new(),
    }
}
