//! A running Envoy: where it listens, what it logs, what it counts.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::log::Log;
use crate::loopback::own_address;
use crate::options::Options;
use crate::process::Process;
use crate::sample::Sample;
use crate::version;

/// Envoy starts in a fraction of a second; a machine that compiles meanwhile takes longer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// An Envoy that takes connections, until it is dropped.
///
/// The drop ends the process and removes its files. When it happens in a panic, the log's last
/// lines go to stderr. Should this program be killed, Envoy is killed with it.
#[derive(Debug)]
pub struct Envoy {
    // Dropped in this order: the process ends before its log is removed.
    process: Process,
    admin: Admin,
    listeners: BTreeMap<String, SocketAddr>,
    address: SocketAddr,
    _directory: TempDir,
}

impl Envoy {
    /// Starts Envoy with the default [`Options`] and waits until it takes connections.
    ///
    /// # Errors
    /// When there is no Envoy, or it does not accept the sample; the error then has the end of
    /// its log.
    pub fn start(sample: &Sample) -> anyhow::Result<Self> {
        Self::options().start(sample)
    }

    /// Options to choose from before the [`start`](Options::start).
    pub fn options() -> Options {
        Options::default()
    }

    pub(crate) fn start_with(options: &Options, sample: &Sample) -> anyhow::Result<Self> {
        let directory = if sample.admin_is_free() {
            directory_with(&sample.clone().admin(own_address()))?
        } else {
            directory_with(sample)?
        };
        let admin_address = directory.path().join("admin-address");
        let mut command = options.command(&directory.path().join(CONFIGURATION))?;
        command.arg("--admin-address-path").arg(&admin_address);
        let process = Process::start(command, Log::new(directory.path().join("envoy.log")))?;

        let address = process.wait_until("the admin interface", START_LIMIT, || {
            // Until the file is whole, it is no address.
            fs::read_to_string(&admin_address).ok()?.trim().parse().ok()
        })?;
        let admin = Admin::new(address);
        process.wait_until("Envoy's workers", START_LIMIT, || {
            admin.is_ready().then_some(())
        })?;
        let listeners = admin.listeners()?;
        let name = sample
            .listener_name()
            .context("the sample's listener has no name")?;
        let address = *listeners
            .get(name)
            .with_context(|| format!("Envoy does not listen as `{name}`"))?;
        Ok(Self {
            process,
            admin,
            listeners,
            address,
            _directory: directory,
        })
    }

    /// Has Envoy check the sample without running it.
    ///
    /// # Errors
    /// Envoy's log, or why it could not be asked.
    pub fn validate(sample: &Sample) -> Result<(), String> {
        validate(CONFIGURATION, &fitting(sample).to_json())
    }

    /// As [`validate`](Self::validate), of YAML as it is written: of its numbers Envoy makes other
    /// things than of those in JSON.
    ///
    /// # Errors
    /// Envoy's log, or why it could not be asked.
    pub fn validate_yaml(yaml: &str) -> Result<(), String> {
        validate("envoy.yaml", yaml)
    }

    /// The address of the sample's first listener, the one for the WebSockets.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the listener `name`, if there is one.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        self.listeners.get(name).copied()
    }

    /// The address of the admin interface.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin.address()
    }

    /// The id of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// All that Envoy has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log().text()
    }

    /// Asks the admin interface for a path, such as `/clusters?format=json`.
    ///
    /// # Errors
    /// When Envoy does not answer, or with a status other than 2xx.
    pub fn admin_get(&self, path: &str) -> anyhow::Result<String> {
        self.admin.get(path)
    }

    /// Has the admin interface do something, such as `/drain_listeners?graceful`.
    ///
    /// # Errors
    /// When Envoy does not answer, or with a status other than 2xx.
    pub fn admin_post(&self, path: &str) -> anyhow::Result<String> {
        self.admin.post(path)
    }

    /// The value of a counter or gauge by its full name, such as `cluster.chat.upstream_cx_total`;
    /// 0 if there is none of that name.
    ///
    /// # Errors
    /// When Envoy does not answer.
    pub fn counter(&self, name: &str) -> anyhow::Result<u64> {
        self.admin.stat(name)
    }

    /// The value of one of the filter's own counters or gauges, such as `upgrades_balanced`,
    /// summed over all clusters; 0 if there is none of that name.
    ///
    /// # Errors
    /// When Envoy does not answer.
    pub fn filter_stat(&self, name: &str) -> anyhow::Result<u64> {
        let regex = format!(r"^wasmcustom\.wsbalancer\..+\.\Q{name}\E$");
        self.admin.sum_of_stats(&regex)
    }

    /// Waits until [`counter`](Self::counter) has an expected value, which is returned.
    ///
    /// # Errors
    /// When it has not within `limit`, or Envoy ends; the error has the end of its log.
    pub fn wait_for_stat(
        &self,
        name: &str,
        expected: impl Fn(u64) -> bool,
        limit: Duration,
    ) -> anyhow::Result<u64> {
        self.wait_for_value(name, || self.counter(name), expected, limit)
    }

    /// Waits until [`filter_stat`](Self::filter_stat) has an expected value, which is returned.
    ///
    /// # Errors
    /// When it has not within `limit`, or Envoy ends; the error has the end of its log.
    pub fn wait_for_filter_stat(
        &self,
        name: &str,
        expected: impl Fn(u64) -> bool,
        limit: Duration,
    ) -> anyhow::Result<u64> {
        self.wait_for_value(name, || self.filter_stat(name), expected, limit)
    }

    /// Waits for the first line of the log with `text` in it, which is returned; a line from
    /// before the call counts.
    ///
    /// # Errors
    /// When there is none within `limit`, or Envoy ends; the error has the end of its log.
    pub fn wait_for_log(&self, text: &str, limit: Duration) -> anyhow::Result<String> {
        self.wait_until(&format!("{text:?} in the log"), limit, || {
            self.process.log().line_with(text)
        })
    }

    /// [`wait_until`](crate::wait_until), but not beyond Envoy's end.
    ///
    /// # Errors
    /// When there is no answer within `limit`, or Envoy ends; the error has the end of its log.
    pub fn wait_until<T>(
        &self,
        what: &str,
        limit: Duration,
        condition: impl FnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        self.process.wait_until(what, limit, condition)
    }

    fn wait_for_value(
        &self,
        name: &str,
        value: impl Fn() -> anyhow::Result<u64>,
        expected: impl Fn(u64) -> bool,
        limit: Duration,
    ) -> anyhow::Result<u64> {
        let mut last = String::from("never read");
        self.wait_until(&format!("another value of {name}"), limit, || {
            let answer = value();
            last = match &answer {
                Ok(value) => format!("last {value}"),
                Err(error) => format!("last an error: {error:#}"),
            };
            answer.ok().filter(|value| expected(*value))
        })
        .with_context(|| format!("{name} was {last}"))
    }
}

/// The sample's name in the run's folder; its ending tells Envoy the format.
const CONFIGURATION: &str = "envoy.json";

/// The sample, without what the Envoy at hand is too old for.
fn fitting(sample: &Sample) -> Sample {
    let sample = sample.clone();
    if version::has_listener_keepalive() {
        sample
    } else {
        sample.without_listener_keepalive()
    }
}

fn directory_with(sample: &Sample) -> anyhow::Result<TempDir> {
    directory_of(CONFIGURATION, &fitting(sample).to_json())
}

fn directory_of(file: &str, configuration: &str) -> anyhow::Result<TempDir> {
    let directory = tempfile::Builder::new()
        .prefix("wsbalancer-envoy-")
        .tempdir()
        .context("can't create a temporary folder")?;
    fs::write(directory.path().join(file), configuration)
        .context("can't write Envoy's configuration")?;
    Ok(directory)
}

fn validate(file: &str, configuration: &str) -> Result<(), String> {
    let ask = || -> anyhow::Result<_> {
        let directory = directory_of(file, configuration)?;
        let mut command = Options::default().command(&directory.path().join(file))?;
        command.args(["--mode", "validate"]);
        command.output().context("can't run Envoy")
    };
    let output = ask().map_err(|error| format!("{error:#}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
