//! What the workers have found of a service, as they share it.

use serde::{Deserialize, Serialize};

use super::kind::Warning;
use crate::host::{SharedData, Version};

/// Each lost try means that another worker's succeeded. What is lost for good is seen again.
const TRIES: usize = 8;

/// What the workers have found of a service. There is none while there is nothing to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Findings {
    /// The warnings in force, as the worker that polls has judged.
    pub warnings: Vec<Warning>,
}

/// Under what name the findings of a service are shared.
#[derive(Clone, Debug)]
pub struct Key(String);

impl Key {
    /// For the service whose table is shared as `table_key`.
    #[must_use]
    pub fn of(table_key: &str) -> Self {
        Self(format!("{table_key}/findings"))
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

    fn read_versioned(&self, data: &impl SharedData) -> (Findings, Option<Version>) {
        let (bytes, version) = data.read(&self.0).unzip();
        let findings = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        (findings.unwrap_or_default(), version)
    }
}
