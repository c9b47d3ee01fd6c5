//! The command-line tool as one file that runs on every Linux of its processor: it needs no library.

use std::fs;

use anyhow::{Context, Result, ensure};
use memchr::memmem;
use xshell::{Shell, cmd};

use crate::toolchain::Toolchain;

pub(crate) const PACKAGE: &str = "wsbalancer-cli";
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";
/// The program's name, and the profile in Cargo.toml.
pub(crate) const NAME: &str = "wsbalancer";
const PROFILE: &str = "dist";

/// Linked by the toolchain's own linker: the machine's would be another on each.
const FLAGS: [&str; 3] = [
    "-Clinker=rust-lld",
    "-Clinker-flavor=ld.lld",
    "-Clink-self-contained=yes",
];

/// How the path of the program begins that loads libraries for those who need some.
const LOADER: &[u8] = b"/lib/ld-";

/// Compiles the tool; its file.
pub(crate) fn build(shell: &Shell, toolchain: &Toolchain) -> Result<Vec<u8>> {
    toolchain.add_target(shell, TARGET)?;
    let flags = toolchain.flags(&FLAGS)?;
    let build = cmd!(
        shell,
        "cargo build --locked --profile {PROFILE} --target {TARGET} --target-dir target --package {PACKAGE} --bin {NAME}"
    );
    build
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("CARGO_INCREMENTAL", "0")
        .run()?;
    let file = format!("target/{TARGET}/{PROFILE}/{NAME}");
    let tool = fs::read(&file).with_context(|| format!("can't read {file}"))?;
    let is_static = memmem::find(&tool, LOADER).is_none();
    ensure!(is_static, "{file} needs a library");
    Ok(tool)
}
