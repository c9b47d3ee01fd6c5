//! The toolchain of Rust, and how it compiles what others get.
//!
//! What it compiles depends on the sources and on the toolchain, and not on the folders of the
//! machine: the paths in messages of panics are the same everywhere, and tell nothing of it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// What takes the place of the workspace's path, and of the folders of the registries' crates.
const WORKSPACE: &str = "/wsbalancer";
const CRATES: &str = "/crates";

/// The toolchain in use.
pub(crate) struct Toolchain {
    /// Its version, such as `1.95.0`.
    pub(crate) version: String,
    commit: String,
    folder: PathBuf,
    /// The machine to compile on, as `x86_64-unknown-linux-gnu`.
    pub(crate) host: String,
}

impl Toolchain {
    pub(crate) fn find(shell: &Shell) -> Result<Self> {
        let folder = cmd!(shell, "rustc --print sysroot").quiet().read()?.into();
        let described = cmd!(shell, "rustc --version --verbose").quiet().read()?;
        let field = |name: &str| {
            let mut lines = described.lines();
            lines
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
                .with_context(|| format!("rustc does not tell its {name}"))
        };
        Ok(Self {
            version: field("release")?,
            commit: field("commit-hash")?,
            host: field("host")?,
            folder,
        })
    }

    /// Adds what compiling for a target takes; rustup does not do that by itself.
    pub(crate) fn add_target(&self, shell: &Shell, target: &str) -> Result<()> {
        if !self.folder.join("lib/rustlib").join(target).exists() {
            cmd!(shell, "rustup target add {target}")
                .run()
                .with_context(|| format!("the toolchain needs the target {target}"))?;
        }
        Ok(())
    }

    /// The notices of Rust's standard library, which is a part of all that is compiled. They come
    /// with the compiler.
    pub(crate) fn notices(&self) -> Result<String> {
        let file = self.folder.join("share/doc/rust/COPYRIGHT-library.html");
        fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))
    }

    /// Folders of this machine that nothing that others get may name.
    pub(crate) fn folders(&self) -> Result<Vec<PathBuf>> {
        let mut folders = vec![env::current_dir()?, self.folder.clone(), cargo_home()?];
        folders.extend(env::home_dir());
        Ok(folders)
    }

    /// What Cargo is told in `CARGO_ENCODED_RUSTFLAGS`, with flags of one target. It takes the place
    /// of all other such settings.
    pub(crate) fn flags(&self, more: &[&str]) -> Result<String> {
        // Of generic code of the library, if its sources are installed.
        let library = self.folder.join("lib/rustlib/src/rust");
        let mut replaced = vec![
            (env::current_dir()?, WORKSPACE.to_owned()),
            (library, format!("/rustc/{}", self.commit)),
        ];
        let registries = cargo_home()?.join("registry/src");
        for registry in folders_in(&registries)? {
            replaced.push((registry, CRATES.to_owned()));
        }
        let flags: Vec<String> = replaced
            .iter()
            .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
            .chain(more.iter().map(|&flag| flag.to_owned()))
            .collect();
        Ok(flags.join("\u{1f}"))
    }
}

/// Where Cargo has the sources of crates.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
        .context("Cargo's folder is not known")
}

/// There may be none: where all crates are in a folder of the workspace.
fn folders_in(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(path)? {
        folders.push(entry?.path());
    }
    Ok(folders)
}
