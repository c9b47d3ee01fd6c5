//! A web server and an exporter of Python's for the pods of the end-to-end tests, as wheels that pip
//! checks against their hashes.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use xshell::Shell;

use crate::pip;

const REQUIREMENTS: &str = "xtask/pods-requirements.txt";
/// Where Python finds the modules.
const FOLDER: &str = "target/pods";
/// What the folder was made of.
const STAMP: &str = "target/pods/requirements.txt";

/// Makes sure that they are there.
pub(crate) fn provide(shell: &Shell) -> Result<()> {
    if is_there(shell) {
        return Ok(());
    }
    fs::create_dir_all("target")?;
    let unpacked = tempfile::tempdir_in("target")?;
    let target = unpacked.path();
    pip::unpack(shell, REQUIREMENTS, target)
        .context("can't get the pods in Python: that takes python3 with pip")?;
    shell.copy_file(REQUIREMENTS, target.join("requirements.txt"))?;
    if Path::new(FOLDER).exists() {
        fs::remove_dir_all(FOLDER)?;
    }
    // It appears in its place at once: no half of it is ever taken for the whole.
    fs::rename(unpacked.keep(), FOLDER).with_context(|| format!("can't write {FOLDER}"))
}

/// Whether the wanted ones are there.
pub(crate) fn is_there(shell: &Shell) -> bool {
    let wanted = shell.read_file(REQUIREMENTS).ok();
    wanted.is_some() && wanted == shell.read_file(STAMP).ok()
}
