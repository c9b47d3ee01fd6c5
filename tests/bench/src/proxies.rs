//! The proxies that are compared: how each is configured and run.
//!
//! Each has one thread for its work, so that no proxy is measured on more cores than another.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result};
use serde::Serialize;
use tempfile::TempDir;
use wsbalancer_harness::{Envoy, Sample, end_with_parent, own_address, wait_until};

use crate::PATIENCE;

/// A kind of proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// Envoy with the project's sample, but without the filter: what the others are compared with.
    Envoy,
    /// The same with the filter.
    Filter,
    /// HAProxy with `balance leastconn`.
    HaProxy,
    /// nginx with `least_conn`.
    Nginx,
}

/// A running proxy.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) pid: i32,
    _running: Running,
}

enum Running {
    Envoy(#[expect(dead_code, reason = "it ends with its drop")] Envoy),
    Program(
        #[expect(dead_code, reason = "it ends with its drop")] Child,
        #[expect(dead_code, reason = "it is removed with its drop")] TempDir,
    ),
}

/// All kinds whose programs are there; says which are not.
pub(crate) fn installed() -> Vec<Kind> {
    [Kind::Envoy, Kind::Filter, Kind::HaProxy, Kind::Nginx]
        .into_iter()
        .filter(|kind| {
            let is_there = kind.program().is_none_or(|program| {
                let version = Command::new(program)
                    .arg("-v")
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
                version.is_ok()
            });
            if !is_there {
                println!("{} is LEFT OUT: it is not installed.", kind.name());
            }
            is_there
        })
        .collect()
}

impl Kind {
    /// Its name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Envoy => "Envoy without the filter",
            Self::Filter => "Envoy with the filter",
            Self::HaProxy => "HAProxy leastconn",
            Self::Nginx => "nginx least_conn",
        }
    }

    const fn program(self) -> Option<&'static str> {
        match self {
            Self::Envoy | Self::Filter => None,
            Self::HaProxy => Some("haproxy"),
            Self::Nginx => Some("nginx"),
        }
    }

    /// Starts one before `pods`, and waits until it takes connections.
    pub(crate) fn start(self, pods: &[SocketAddr]) -> Result<Proxy> {
        match self {
            Self::Envoy => start_envoy(&Sample::standard()?.pods(pods).without_filter(), 0),
            Self::Filter => start_envoy(&Sample::standard()?.pods(pods), pods.len()),
            Self::HaProxy => start_program(pods, haproxy),
            Self::Nginx => start_program(pods, nginx),
        }
    }
}

fn start_envoy(sample: &Sample, usable: usize) -> Result<Proxy> {
    let envoy = Envoy::options()
        .concurrency(1)
        .log_level("warning")
        .start(sample)?;
    let usable = u64::try_from(usable)?;
    envoy.wait_for_filter_stat("pods_usable", |pods| pods == usable, PATIENCE)?;
    Ok(Proxy {
        address: envoy.address(),
        pid: envoy.pid().cast_signed(),
        _running: Running::Envoy(envoy),
    })
}

/// The configuration for a listener and pods, and the command that runs it in a folder.
type Setup = fn(&Path, SocketAddr, &[SocketAddr]) -> Result<Command>;

fn start_program(pods: &[SocketAddr], setup: Setup) -> Result<Proxy> {
    let directory = tempfile::Builder::new()
        .prefix("wsbalancer-bench-")
        .tempdir()?;
    let address = own_address();
    let mut command = setup(directory.path(), address, pods)?;
    let child = Child::start(&mut command)?;
    wait_until("the proxy's listener", PATIENCE, || {
        TcpStream::connect(address).ok()
    })?;
    Ok(Proxy {
        address,
        pid: child.pid(),
        _running: Running::Program(child, directory),
    })
}

fn servers(pods: &[SocketAddr], line: impl Fn(usize, &SocketAddr) -> String) -> String {
    let lines: Vec<String> = pods
        .iter()
        .enumerate()
        .map(|(index, pod)| line(index, pod))
        .collect();
    lines.join("\n")
}

fn haproxy(directory: &Path, address: SocketAddr, pods: &[SocketAddr]) -> Result<Command> {
    let configuration = include_str!("../haproxy.cfg")
        .replace("@ADDRESS@", &address.to_string())
        .replace(
            "@SERVERS@",
            &servers(pods, |index, pod| format!("    server pod-{index} {pod}")),
        );
    let file = directory.join("haproxy.cfg");
    fs::write(&file, configuration)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn nginx(directory: &Path, address: SocketAddr, pods: &[SocketAddr]) -> Result<Command> {
    let configuration = include_str!("../nginx.conf")
        .replace("@ADDRESS@", &address.to_string())
        .replace(
            "@SERVERS@",
            &servers(pods, |_, pod| format!("        server {pod};")),
        );
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory).arg("-c").arg(file);
    command.args(["-e", "stderr"]);
    Ok(command)
}

/// A child process that ends when this is dropped.
pub(crate) struct Child(process::Child);

impl Child {
    fn start(command: &mut Command) -> Result<Self> {
        end_with_parent(command);
        let child = command.spawn();
        Ok(Self(
            child.with_context(|| format!("can't run {command:?}"))?,
        ))
    }

    /// Starts a program that prints a line once it is ready, which is returned.
    pub(crate) fn start_until_line(command: &mut Command) -> Result<(Self, String)> {
        let mut child = Self::start(command.stdout(Stdio::piped()))?;
        let output = child.0.stdout.take().context("its output is piped")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok((child, line))
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}
