//! Pods in Go and in Java: the web servers and exporters of services, as Debian has them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use tokio::task::block_in_place;

use crate::ROOT;
use crate::program::PodProgram;

/// Where Debian's packages of Go libraries are.
const GO_LIBRARIES: &str = "/usr/share/gocode";
/// Where Debian's packages of Java libraries are.
const JAVA_LIBRARIES: &str = "/usr/share/java";
/// What a Tomcat with WebSockets consists of.
const TOMCAT: [&str; 4] = [
    "tomcat10-embed-core",
    "tomcat10-embed-websocket",
    "tomcat10-embed-el",
    "jakarta-annotation-api",
];

/// These tell their count with each 101 as the named metric `websockets`.
impl PodProgram {
    /// Starts one on Go's `net/http`, with the exporter of `client_golang` at `/metrics`: the series
    /// `websocket_connections{state="open"}`.
    ///
    /// # Errors
    /// When there is no Go, or its library is missing.
    pub fn in_go() -> anyhow::Result<Self> {
        let program = block_in_place(build_go)?;
        Self::start(Command::new(program))
    }

    /// Starts one on Tomcat, with its count at `/stats` (`/websockets/open`).
    ///
    /// # Errors
    /// When there is no JDK, or no Tomcat.
    pub fn on_tomcat() -> anyhow::Result<Self> {
        let jars = TOMCAT.map(|part| format!("{JAVA_LIBRARIES}/{part}.jar"));
        let mut command = Command::new("java");
        command.arg("-cp").arg(jars.join(":"));
        command.arg(pods()?.join("Chat.java"));
        Self::start(command)
    }
}

/// The folder of their sources.
fn pods() -> anyhow::Result<PathBuf> {
    Ok(Path::new(ROOT).canonicalize()?.join("tests/e2e/pods"))
}

/// The program in Go, which is built anew where it has changed.
fn build_go() -> anyhow::Result<PathBuf> {
    let target = Path::new(ROOT).canonicalize()?.join("target/go");
    fs::create_dir_all(&target)?;
    let program = target.join("chat");
    let status = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(pods()?.join("chat.go"))
        .env("GO111MODULE", "off")
        .env("GOPATH", GO_LIBRARIES)
        .env("GOCACHE", target.join("cache"))
        .status()
        .context("can't run go")?;
    ensure!(status.success(), "chat.go can't be built");
    Ok(program)
}
