//! What the workers have found of a service, as they share it.

use serde::{Deserialize, Serialize};

use super::kind::Warning;
use super::steering::Steering;
use crate::host::{SharedData, Version};

/// Each lost try means that another worker's succeeded. What is lost for good is seen again.
const TRIES: usize = 8;

/// What the workers have found of a service, and what has come of it. Nothing is written while
/// there is nothing to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Findings {
    /// Whether upgrades go to the chosen pods.
    pub steering: Steering,
    /// The cluster of handshakes that were no service's, while no service had any.
    pub passed_by: Option<String>,
    /// A pod whose refusal ended a handshake that had other pods to go to.
    pub unretried: Option<String>,
    /// The last handshake for which another filter of this kind had chosen.
    pub second: Option<Sighting>,
    /// The warnings in force, as the worker that polls has judged.
    pub warnings: Vec<Warning>,
}

/// A handshake on which something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// When, in nanoseconds.
    pub at: u64,
    /// WebSockets that the service had opened by then.
    pub opened: u64,
}

/// Under what name findings are shared.
#[derive(Clone, Debug)]
pub struct Key(String);

impl Key {
    /// Those of the service whose table is shared as `table_key`.
    #[must_use]
    pub fn of(table_key: &str) -> Self {
        Self(format!("{table_key}/findings"))
    }

    /// Those of the whole gateway.
    #[must_use]
    pub fn of_gateway() -> Self {
        Self("wsbalancer/findings".to_owned())
    }

    /// The findings as they are now.
    pub fn read(&self, data: &impl SharedData) -> Findings {
        self.read_versioned(data).0
    }

    /// Changes the findings, in one step for all workers; what `change` returned in the run that was
    /// kept, none where other workers were faster every time. What is not changed is not written.
    pub fn update<T>(
        &self,
        data: &impl SharedData,
        mut change: impl FnMut(&mut Findings) -> T,
    ) -> Option<T> {
        for _ in 0..TRIES {
            let (before, version) = self.read_versioned(data);
            let mut findings = before.clone();
            let result = change(&mut findings);
            if findings == before {
                return Some(result);
            }
            let bytes = serde_json::to_vec(&findings).unwrap_or_default();
            if data.write(&self.0, &bytes, version).is_ok() {
                return Some(result);
            }
        }
        None
    }

    /// Findings that can't be read are none.
    fn read_versioned(&self, data: &impl SharedData) -> (Findings, Option<Version>) {
        let (bytes, version) = data.read(&self.0).unzip();
        let findings = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        (findings.unwrap_or_default(), version)
    }
}
