//! Which version of Envoy is run, where that matters.

use std::process::Command;
use std::sync::OnceLock;

use crate::workspace;

/// The first version of Envoy that has `tcp_keepalive` on a listener.
const LISTENER_KEEPALIVE: (u32, u32) = (1, 37);

/// Whether Envoy takes the sample's `tcp_keepalive` of listeners; older ones refuse the whole file.
///
/// An Envoy that does not tell its version is taken for a new one.
pub(crate) fn has_listener_keepalive() -> bool {
    version().is_none_or(|version| version >= LISTENER_KEEPALIVE)
}

/// That of the Envoy that all starts of this process run, asked once.
fn version() -> Option<(u32, u32)> {
    static VERSION: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let mut command = Command::new(workspace::envoy().ok()?);
        let output = command.arg("--version").output().ok()?;
        parse(&String::from_utf8_lossy(&output.stdout))
    })
}

/// Of `envoy  version: COMMIT/1.36.4/Clean/RELEASE/BoringSSL`, 1 and 36.
fn parse(text: &str) -> Option<(u32, u32)> {
    let (_name, version) = text.split_once("version: ")?;
    let mut numbers = version.split('/').nth(1)?.split('.');
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_between_slashes() {
        let text = "\ntarget/envoy/envoy  version: 33b0d9eb/1.36.4/Clean/RELEASE/BoringSSL\n\n";
        assert_eq!(parse(text), Some((1, 36)));
        assert_eq!(parse("envoy version: 1.36"), None);
    }
}
