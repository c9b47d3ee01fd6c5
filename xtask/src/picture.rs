//! The pictures of the status page in the documentation.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::{envoy, setup, wasm};

/// Where they are.
const FOLDER: &str = "docs";

/// Takes them anew: of real pods behind a real Envoy, in a real browser.
pub(crate) fn take(shell: &Shell) -> Result<()> {
    setup::demand(shell, &[setup::ENVOY, setup::BROWSER])?;
    wasm::build(shell)?;
    envoy::provide(shell)?;
    let picture = cmd!(
        shell,
        "cargo run --quiet --package wsbalancer-e2e --bin picture -- {FOLDER}"
    );
    Ok(picture.run()?)
}
