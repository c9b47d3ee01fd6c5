//! How Envoy is run: its command line.

use std::path::Path;
use std::process::Command;

use crate::{Envoy, Sample, workspace};

/// Options of a run; the defaults are those of [`Envoy::start`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    concurrency: u32,
    log_level: String,
    component_log_level: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: 2,
            log_level: "info".to_owned(),
            component_log_level: None,
        }
    }
}

impl Options {
    /// The number of worker threads; 2 by default.
    pub fn concurrency(mut self, workers: u32) -> Self {
        self.concurrency = workers;
        self
    }

    /// Envoy's `--log-level`: `trace`, `debug`, `info`, `warning`, `error`, `critical` or `off`;
    /// `info` by default.
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }

    /// Envoy's `--component-log-level`, such as `wasm:debug,upstream:trace`; none by default.
    pub fn component_log_level(mut self, levels: &str) -> Self {
        self.component_log_level = Some(levels.to_owned());
        self
    }

    /// Starts Envoy and waits until it takes connections.
    ///
    /// # Errors
    /// When there is no Envoy, or it does not accept the sample; the error then has the end of
    /// its log.
    pub fn start(&self, sample: &Sample) -> anyhow::Result<Envoy> {
        Envoy::start_with(self, sample)
    }

    /// The command line, without what depends on the run.
    pub(crate) fn command(&self, configuration: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(workspace::envoy()?);
        command
            .arg("--config-path")
            .arg(configuration)
            .args(["--concurrency", &self.concurrency.to_string()])
            .args(["--log-level", &self.log_level])
            // Without it, two Envoys on one machine take each other for their predecessor.
            .arg("--disable-hot-restart");
        if let Some(levels) = &self.component_log_level {
            command.args(["--component-log-level", levels]);
        }
        Ok(command)
    }
}
