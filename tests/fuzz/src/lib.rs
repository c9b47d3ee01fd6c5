//! What must hold whatever bytes come to the filter: from its operators, from pods, from Envoy, from
//! clients, or from another module through the data that they share.
//!
//! Each target is a function of some bytes that panics where something does not hold. `cargo fuzz`
//! makes up such bytes (`fuzz/`), and a test runs those that were interesting (`fuzz/corpus/`).

mod configuration;
mod counts;
mod life;
mod listing;
mod status;
mod table;

use std::fmt::{self, Debug};

/// Something to try bytes on.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its fuzz target, and of its corpus.
    pub name: &'static str,
    /// Panics where something does not hold.
    pub run: fn(&[u8]),
}

impl Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "configuration",
        run: configuration::run,
    },
    Target {
        name: "counts",
        run: counts::run,
    },
    Target {
        name: "life",
        run: life::run,
    },
    Target {
        name: "listing",
        run: listing::run,
    },
    Target {
        name: "status",
        run: status::run,
    },
    Target {
        name: "table",
        run: table::run,
    },
];

/// The target of this name.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn target(name: &str) -> Target {
    let mut targets = TARGETS.into_iter();
    let found = targets.find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("there is no target {name}"))
}
