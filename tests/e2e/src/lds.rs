//! A listener that Envoy takes from a file that can change (LDS by file).

use std::fs;

use serde_json::json;
use tempfile::TempDir;
use wsbalancer_harness::Sample;

/// The file.
pub struct LdsFile(TempDir);

impl LdsFile {
    /// A file with the first listener of `sample`, and the sample without that listener, but with
    /// the file.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn feed(sample: &Sample) -> anyhow::Result<(Self, Sample)> {
        let lds = Self(TempDir::new()?);
        lds.publish(sample)?;
        let folder = lds.0.path();
        let bootstrap = sample.clone().edit(|configuration| {
            let listeners = configuration["static_resources"]["listeners"].as_array_mut();
            listeners.map(|listeners| listeners.remove(0));
            // A name of its own is what an Envoy needs for any discovery service.
            configuration["node"] = json!({ "id": "test", "cluster": "test" });
            configuration["dynamic_resources"]["lds_config"]["path_config_source"] = json!({
                "path": folder.join(Self::NAME),
                "watched_directory": { "path": folder },
            });
        });
        Ok((lds, bootstrap))
    }

    const NAME: &str = "listeners.json";

    /// Replaces the listener by the first one of `sample`, in one step: Envoy watches for moves.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn publish(&self, sample: &Sample) -> anyhow::Result<()> {
        let mut listener = sample.clone().listener().clone();
        listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
        let draft = self.0.path().join("draft");
        fs::write(&draft, json!({ "resources": [listener] }).to_string())?;
        fs::rename(draft, self.0.path().join(Self::NAME))?;
        Ok(())
    }
}
