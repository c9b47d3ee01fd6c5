//! What a warning is.

use serde::{Deserialize, Serialize};

/// What there is to warn of. The order is that in which warnings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// No pod has ever answered a poll.
    NoAnswer,
}

impl Kind {
    /// Those that hold for a service.
    pub const OF_SERVICES: [Self; 1] = [Self::NoAnswer];

    /// As in the JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "noAnswer",
        }
    }
}

/// A warning that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What it is of.
    pub kind: Kind,
    /// What is seen, and the likely cause: one sentence.
    pub message: String,
    /// The lines to add, as YAML; none where no lines help.
    pub advice: Option<String>,
}
