//! The machine's Docker Engine.

use std::env;

use anyhow::{Result, ensure};
use xshell::{Shell, cmd};

use crate::probe::succeeds;

/// Set where a missing engine is a failure, as in CI.
const REQUIRED: &str = "WSBALANCER_REQUIRE_DOCKER";

/// Whether there is an engine.
pub(crate) fn is_there(shell: &Shell) -> Result<bool> {
    let there = succeeds(cmd!(shell, "docker version"));
    ensure!(
        there || env::var_os(REQUIRED).is_none(),
        "{REQUIRED} is set, and there is no Docker Engine"
    );
    Ok(there)
}
