//! `wsbalancer load` and `wsbalancer watch`, against small real servers.

mod load;
mod pod;
#[path = "../../../../tests/client/tests/suite/servers.rs"]
#[expect(dead_code, reason = "the client's library is tested with the rest")]
mod servers;
mod watch;

use std::process::Stdio;

use tokio::process::Command;

/// The tool with one of its commands.
fn tool(command: &str, arguments: &[&str]) -> Command {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_wsbalancer"));
    tool.arg(command)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A test that fails leaves no program behind.
    tool.kill_on_drop(true);
    tool
}
