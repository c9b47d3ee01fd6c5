//! The pictures of the status page in the README.

use anyhow::Result;
use xshell::{Shell, cmd};

use crate::{checks, envoy, wasm};

/// Where they are.
const FOLDER: &str = "docs";

/// Takes them anew: of real pods behind a real Envoy, in a real browser.
pub(crate) fn take(shell: &Shell) -> Result<()> {
    wasm::build(shell)?;
    envoy::provide(shell)?;
    checks::provide_browser(shell)?;
    let picture = cmd!(
        shell,
        "cargo run --quiet --package wsbalancer-e2e --bin picture -- {FOLDER}"
    );
    Ok(picture.run()?)
}
