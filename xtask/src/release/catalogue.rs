//! What is known of each package of the workspace's lock file.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use cargo_lock::Lockfile;
use cargo_metadata::{MetadataCommand, Package};

use super::program::{Id, MODULE, TOOL};

pub(crate) struct Catalogue {
    packages: BTreeMap<Id, Package>,
    checksums: BTreeMap<Id, String>,
}

impl Catalogue {
    /// From Cargo, for a machine that compiles on `host`.
    pub(crate) fn read(host: &str) -> Result<Self> {
        let platforms = [host, MODULE.target, TOOL.target];
        let metadata = MetadataCommand::new()
            .other_options(
                ["--locked".to_owned()]
                    .into_iter()
                    .chain(platforms.map(|platform| format!("--filter-platform={platform}")))
                    .collect::<Vec<_>>(),
            )
            .exec()
            .context("Cargo does not tell of the packages")?;
        let locked = Lockfile::load(metadata.workspace_root.join("Cargo.lock"))
            .context("Cargo.lock can't be read")?;
        let packages = metadata.packages.into_iter().map(|package| {
            let name = package.name.to_string();
            let version = package.version.clone();
            (Id { name, version }, package)
        });
        let checksums = locked.packages.into_iter().filter_map(|package| {
            let name = package.name.to_string();
            let version = package.version;
            Some((Id { name, version }, package.checksum?.to_string()))
        });
        Ok(Self {
            packages: packages.collect(),
            checksums: checksums.collect(),
        })
    }

    pub(crate) fn package(&self, id: &Id) -> Result<&Package> {
        let package = self.packages.get(id);
        package.with_context(|| format!("Cargo does not tell of {} {}", id.name, id.version))
    }

    /// The SHA-256 of what the registry has of a package; none of the workspace's own.
    pub(crate) fn checksum(&self, id: &Id) -> Option<&str> {
        self.checksums.get(id).map(String::as_str)
    }
}
