//! Resources that Envoy takes from files, which can change: what a control plane would send.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::resources::name_of;

/// The files, by what they are and the name of their resource. Each is in a folder of its own, for
/// Envoy watches folders.
#[derive(Default)]
pub struct XdsFiles(BTreeMap<(&'static str, String), TempDir>);

impl XdsFiles {
    const NAME: &str = "resource.json";

    /// A file for a resource.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn add(&mut self, what: &'static str, resource: &Value) -> Result<()> {
        let key = (what, name_of(resource).to_owned());
        self.0.insert(key, TempDir::new()?);
        self.publish(what, resource)
    }

    /// Replaces the resource of the same name, in one step: Envoy watches for moves.
    ///
    /// # Errors
    /// When there is none, or the file can't be written.
    pub fn publish(&self, what: &'static str, resource: &Value) -> Result<()> {
        let name = name_of(resource);
        let folder = self.0.get(&(what, name.to_owned()));
        let folder = folder.with_context(|| format!("no {what} {name}"))?.path();
        let draft = folder.join("draft");
        fs::write(&draft, json!({ "resources": [resource] }).to_string())?;
        fs::rename(draft, folder.join(Self::NAME))?;
        Ok(())
    }

    /// The resource that Envoy has now.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn resource(&self, what: &'static str, name: &str) -> Result<Value> {
        let folder = self.0.get(&(what, name.to_owned()));
        let folder = folder.with_context(|| format!("no {what} {name}"))?.path();
        let mut answer: Value = serde_json::from_slice(&fs::read(folder.join(Self::NAME))?)?;
        Ok(answer["resources"][0].take())
    }

    /// The `ConfigSource` with which Envoy takes a resource from its file, if it has one.
    #[must_use]
    pub fn source(&self, what: &'static str, name: &str) -> Option<Value> {
        let folder = self.0.get(&(what, name.to_owned()))?.path();
        Some(json!({
            "resource_api_version": "V3",
            "path_config_source": {
                "path": folder.join(Self::NAME),
                "watched_directory": { "path": folder },
            },
        }))
    }
}
