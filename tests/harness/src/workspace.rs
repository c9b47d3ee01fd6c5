//! Where the workspace keeps what the harness needs.

use std::env;
use std::path::PathBuf;

use anyhow::bail;

/// The sample configuration that README and demo use.
pub(crate) fn sample() -> PathBuf {
    root().join("envoy/envoy.yaml")
}

/// The filter as `cargo xtask` builds it.
pub(crate) fn filter() -> PathBuf {
    root().join("target/wsbalancer.wasm")
}

/// Envoy's executable: the one that `ENVOY_BIN` names, or else the one that `cargo xtask envoy`
/// put into the workspace.
pub(crate) fn envoy() -> anyhow::Result<PathBuf> {
    if let Some(named) = env::var_os("ENVOY_BIN") {
        return Ok(named.into());
    }
    let installed = root().join("target/envoy/envoy");
    if !installed.is_file() {
        bail!(
            "there is no Envoy at {}: run `cargo xtask envoy`, or set ENVOY_BIN to one",
            installed.display()
        );
    }
    Ok(installed)
}

fn root() -> PathBuf {
    // This package stands two folders below the root.
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
