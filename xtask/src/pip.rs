//! Wheels that pip checks against their hashes.

use std::path::Path;

use anyhow::Result;
use xshell::{Shell, cmd};

/// Unpacks what `requirements` pins into the folder `target`. Nothing is installed into the system.
pub(crate) fn unpack(shell: &Shell, requirements: &str, target: &Path) -> Result<()> {
    let pip = cmd!(
        shell,
        "python3 -m pip install --quiet --no-deps --only-binary :all: --require-hashes --target {target} --requirement {requirements}"
    );
    // Whose folder it is does not matter, then.
    Ok(pip.env("PIP_ROOT_USER_ACTION", "ignore").quiet().run()?)
}
