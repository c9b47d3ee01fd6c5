//! Programs that the project uses as they are, from Debian's packages.

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

/// Makes sure that there is `program`, which is in the Debian package `package`.
pub(crate) fn provide(shell: &Shell, program: &str, package: &str) -> Result<()> {
    let found = cmd!(shell, "which {program}").quiet().ignore_stdout();
    if found.run().is_ok() {
        return Ok(());
    }
    println!("{program} is missing: installing Debian's package {package}");
    let install = || {
        let package = cmd!(
            shell,
            "apt-get install --yes --no-install-recommends {package}"
        );
        package
            .env("DEBIAN_FRONTEND", "noninteractive")
            .quiet()
            .ignore_stdout()
            .run()
    };
    // The lists of packages may be missing, or too old.
    install()
        .or_else(|_| {
            cmd!(shell, "apt-get update")
                .quiet()
                .ignore_stdout()
                .run()
                .and_then(|()| install())
        })
        .with_context(|| format!("{program} is missing, and could not be installed"))
}
