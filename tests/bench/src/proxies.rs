//! The proxies that are compared: how each is configured and run.
//!
//! Before eight pods each has one thread for its work, so that no proxy is measured on more cores than another.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::json;
use tempfile::TempDir;
use wsbalancer_harness::{Child, Envoy, Http, Sample, own_address, wait_until};

use crate::PATIENCE;

/// The module that returns at once, as text.
const FLOOR: &str = include_str!("../floor.wat");
/// The module that makes the filter's calls alone, for pods that are still to be named.
const CALLS: &str = include_str!("../calls.wat");
/// What it has for the address of a pod.
const ADDRESS_SIZE: usize = 15;

/// A kind of proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// Envoy with the project's sample, but without the filter: what the others are compared with.
    Envoy,
    /// The same with a module that returns at once: what any filter in a VM costs.
    Floor,
    /// The same with a module that makes the filter's calls, and does nothing else.
    Calls,
    /// The same with the filter.
    Filter,
    /// The same, and watched: its status and Envoy's statistics are asked for every second, clients
    /// are told the choice, and an access log is written.
    Watched,
    /// HAProxy with `balance leastconn`.
    HaProxy,
    /// nginx with `least_conn`.
    Nginx,
}

/// A running proxy.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) pid: i32,
    /// Ends before the proxy does.
    watcher: Option<Watcher>,
    running: Running,
}

enum Running {
    Envoy(Envoy),
    Program(
        #[expect(dead_code, reason = "it ends with its drop")] Child,
        #[expect(dead_code, reason = "it is removed with its drop")] TempDir,
    ),
}

/// All kinds whose programs are there; says which are not.
pub(crate) fn installed() -> Vec<Kind> {
    [
        Kind::Envoy,
        Kind::Floor,
        Kind::Calls,
        Kind::Filter,
        Kind::Watched,
        Kind::HaProxy,
        Kind::Nginx,
    ]
    .into_iter()
    .filter(|kind| {
        let Some(program) = kind.program() else {
            return true;
        };
        let version = Command::new(program)
            .arg("-v")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if version.is_err() {
            println!("{} is LEFT OUT: there is no `{program}`.", kind.name());
        }
        version.is_ok()
    })
    .collect()
}

impl Kind {
    /// Its name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Envoy => "Envoy without the filter",
            Self::Floor => "… with a module that returns at once",
            Self::Calls => "… that makes the filter's calls",
            Self::Filter => "Envoy with the filter",
            Self::Watched => "… watched",
            Self::HaProxy => "HAProxy leastconn",
            Self::Nginx => "nginx least_conn",
        }
    }

    const fn program(self) -> Option<&'static str> {
        match self {
            Self::Envoy | Self::Floor | Self::Calls | Self::Filter | Self::Watched => None,
            Self::HaProxy => Some("haproxy"),
            Self::Nginx => Some("nginx"),
        }
    }

    /// Starts one before `pods`, and waits until it takes connections.
    pub(crate) fn start(self, pods: &[SocketAddr]) -> Result<Proxy> {
        self.try_start(pods)
            .with_context(|| format!("{} could not be started", self.name()))
    }

    fn try_start(self, pods: &[SocketAddr]) -> Result<Proxy> {
        match self {
            Self::Envoy => start_envoy(&Sample::standard()?.pods(pods).without_filter(), 1, 0),
            Self::Floor => start_module(FLOOR, pods),
            Self::Calls => start_module(&calls(pods)?, pods),
            Self::Filter => start_envoy(&Sample::standard()?.pods(pods), 1, pods.len()),
            Self::Watched => {
                let mut proxy =
                    start_envoy(&watched(Sample::standard()?.pods(pods)), 1, pods.len())?;
                proxy.watcher = Some(Watcher::start(&proxy)?);
                Ok(proxy)
            }
            Self::HaProxy => start_program(pods, haproxy),
            Self::Nginx => start_program(pods, nginx),
        }
    }
}

/// Starts an Envoy with so many workers, and waits until so many pods are usable.
pub(crate) fn start_envoy(sample: &Sample, workers: u32, usable: usize) -> Result<Proxy> {
    let envoy = Envoy::options()
        .concurrency(workers)
        .log_level("warning")
        .start(sample)?;
    let usable = u64::try_from(usable)?;
    envoy.wait_for_filter_stat("pods_usable", |pods| pods == usable, PATIENCE)?;
    Ok(Proxy {
        address: envoy.address(),
        pid: envoy.pid().cast_signed(),
        watcher: None,
        running: Running::Envoy(envoy),
    })
}

/// Starts an Envoy with this module, which is text, in the filter's place.
fn start_module(text: &str, pods: &[SocketAddr]) -> Result<Proxy> {
    let folder = tempdir()?;
    let module = folder.path().join("module.wasm");
    fs::write(&module, wat::parse_str(text)?)?;
    start_envoy(&Sample::standard()?.pods(pods).wasm(&module), 1, 0)
}

/// The module that makes the filter's calls, before these pods.
fn calls(pods: &[SocketAddr]) -> Result<String> {
    let addresses: Vec<String> = pods.iter().map(SocketAddr::to_string).collect();
    let fit = addresses
        .iter()
        .all(|address| address.len() == ADDRESS_SIZE);
    let are_all = u32::try_from(pods.len()) == Ok(crate::PODS);
    ensure!(fit && are_all, "{addresses:?}");
    Ok(CALLS.replace("@PODS@", &addresses.join(" ")))
}

/// The sample with all that tells of the choice.
fn watched(sample: Sample) -> Sample {
    let mut sample = sample.option("debugHeaders", true);
    sample.connection_manager()["access_log"] = json!([{
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": "/dev/null",
            "log_format": { "text_format_source": { "inline_string":
                "chosen=%FILTER_STATE(wasm.wsbalancer:PLAIN)% served=%UPSTREAM_HOST%\n" } },
        },
    }]);
    sample
}

/// Asks a proxy for what it shows, until it is dropped.
struct Watcher {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    fn start(proxy: &Proxy) -> Result<Self> {
        let Running::Envoy(envoy) = &proxy.running else {
            bail!("only an Envoy can be watched");
        };
        let status = envoy
            .listener("status")
            .context("the sample has a status")?;
        let urls = [
            format!("http://{status}/balancer-metrics?format=json"),
            format!("http://{status}/balancer-metrics?format=prometheus"),
            format!("http://{}/stats/prometheus", envoy.admin()),
        ];
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                for url in &urls {
                    // What it cost is measured; what it brought is tested elsewhere.
                    let _body = Http::new().get(url);
                }
            }
        });
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can't panic, and if it did the measurement would be over all the same.
            let _ended = thread.join();
        }
    }
}

fn tempdir() -> Result<TempDir> {
    let folder = tempfile::Builder::new()
        .prefix("wsbalancer-bench-")
        .tempdir()?;
    Ok(folder)
}

/// The configuration for a listener and pods, and the command that runs it in a folder.
type Setup = fn(&Path, SocketAddr, &[SocketAddr]) -> Result<Command>;

fn start_program(pods: &[SocketAddr], setup: Setup) -> Result<Proxy> {
    let directory = tempdir()?;
    let address = own_address();
    let child = Child::start(setup(directory.path(), address, pods)?)?;
    wait_until("the proxy's listener", PATIENCE, || {
        TcpStream::connect(address).ok()
    })?;
    Ok(Proxy {
        address,
        pid: child.id().cast_signed(),
        watcher: None,
        running: Running::Program(child, directory),
    })
}

/// Writes a configuration made of `template`, and where it is: `server` is a pod's line.
fn configure(
    file: PathBuf,
    template: &str,
    address: SocketAddr,
    pods: &[SocketAddr],
    server: fn(usize, &SocketAddr) -> String,
) -> Result<PathBuf> {
    let servers: Vec<String> = (0..)
        .zip(pods)
        .map(|(index, pod)| server(index, pod))
        .collect();
    let configuration = template
        .replace("@ADDRESS@", &address.to_string())
        .replace("@SERVERS@", &servers.join("\n"));
    fs::write(&file, configuration)?;
    Ok(file)
}

fn haproxy(directory: &Path, address: SocketAddr, pods: &[SocketAddr]) -> Result<Command> {
    let file = directory.join("haproxy.cfg");
    let template = include_str!("../haproxy.cfg");
    let file = configure(file, template, address, pods, |index, pod| {
        format!("    server pod-{index} {pod}")
    })?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn nginx(directory: &Path, address: SocketAddr, pods: &[SocketAddr]) -> Result<Command> {
    let file = directory.join("nginx.conf");
    let template = include_str!("../nginx.conf");
    let file = configure(file, template, address, pods, |_, pod| {
        format!("        server {pod};")
    })?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory).arg("-c").arg(file);
    command.args(["-e", "stderr"]);
    Ok(command)
}
