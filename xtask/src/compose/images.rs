//! The base images that the Dockerfile names: from the engine if it has them, else from their
//! registry, else as stand-ins made of Debian's packages, the Rust toolchain of this machine and
//! the Envoy of `cargo xtask envoy`.
//!
//! A stand-in has what the Dockerfile may rely on, and is labelled as such. It trusts the
//! certificate authorities that this machine trusts, so that it gets its crates as this machine
//! does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::{debian, envoy};

const DOCKERFILE: &str = "Dockerfile";
const STAND_IN: &str = "LABEL wsbalancer.stand-in=true";
const ROOTS: &str = "target/images";
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Makes sure that the engine has every base image.
pub(crate) fn provide(shell: &Shell) -> Result<()> {
    let dockerfile = fs::read_to_string(DOCKERFILE)?;
    for image in bases(&dockerfile) {
        let found = cmd!(shell, "docker image inspect {image}").quiet();
        if found.ignore_stdout().ignore_stderr().run().is_ok() {
            continue;
        }
        let pulled = cmd!(shell, "docker pull --quiet {image}").quiet();
        if pulled.ignore_stdout().ignore_stderr().run().is_ok() {
            continue;
        }
        println!("{image} can't be pulled: making a stand-in");
        stand_in(shell, image).with_context(|| format!("no stand-in for {image}"))?;
    }
    Ok(())
}

/// The images that a Dockerfile begins with, its own stages not among them.
fn bases(dockerfile: &str) -> Vec<&str> {
    let mut bases: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("FROM "))
        .filter_map(|from| from.split_whitespace().next())
        .collect();
    bases.sort_unstable();
    bases.dedup();
    bases
}

fn stand_in(shell: &Shell, image: &str) -> Result<()> {
    let (name, _) = image.split_once(':').context("an image has a tag")?;
    match name {
        "debian" => import(shell, image, &root(shell, "debian", &[])?, &[]),
        "envoyproxy/envoy" => {
            let root = root(shell, "envoy", &[])?;
            fs::copy(envoy::binary(), root.join("usr/local/bin/envoy"))?;
            import(shell, image, &root, &["ENTRYPOINT [\"envoy\"]"])
        }
        "rust" => {
            let root = root(shell, "rust", &["ca-certificates", "gcc", "libc6-dev"])?;
            fs::copy(
                CERTIFICATES,
                root.join(CERTIFICATES.trim_start_matches('/')),
            )?;
            copy_toolchain(shell, &root.join("usr/local"))?;
            import(shell, image, &root, &[])
        }
        _ => anyhow::bail!("nobody knows what it is made of"),
    }
}

/// A folder with a minimal Debian and these packages.
fn root(shell: &Shell, name: &str, packages: &[&str]) -> Result<PathBuf> {
    debian::provide(shell, "debootstrap", "debootstrap")?;
    shell.create_dir(ROOTS)?;
    let root = Path::new(ROOTS).join(name);
    shell.remove_path(&root)?;
    let include: Vec<String> = (!packages.is_empty())
        .then(|| format!("--include={}", packages.join(",")))
        .into_iter()
        .collect();
    cmd!(
        shell,
        "debootstrap --variant=minbase {include...} bookworm {root}"
    )
    .ignore_stdout()
    .run()?;
    Ok(root)
}

/// The compiler and cargo, without what only rustup needs and without documentation.
fn copy_toolchain(shell: &Shell, destination: &Path) -> Result<()> {
    let sysroot = cmd!(shell, "rustc --print sysroot").read()?;
    for part in ["bin", "lib"] {
        cmd!(
            shell,
            "cp --recursive --dereference {sysroot}/{part} {destination}"
        )
        .run()?;
    }
    Ok(())
}

fn import(shell: &Shell, image: &str, root: &Path, changes: &[&str]) -> Result<()> {
    let changes = changes
        .iter()
        .chain(&[STAND_IN])
        .flat_map(|change| ["--change", change]);
    let archive = root.with_extension("tar");
    cmd!(shell, "tar --create --file {archive} --directory {root} .").run()?;
    cmd!(shell, "docker import {changes...} {archive} {image}")
        .ignore_stdout()
        .run()?;
    shell.remove_path(&archive)?;
    shell.remove_path(root)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_named_once_each() {
        let dockerfile = "FROM b:1 AS build\nRUN x\nFROM a:2\nFROM b:1 AS other\n";
        assert_eq!(bases(dockerfile), ["a:2", "b:1"]);
    }
}
