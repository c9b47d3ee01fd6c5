//! The image's layer: an archive of the module alone.

use anyhow::Result;

use crate::archive::Archive;

/// What the module is called, for Istio and Envoy Gateway.
const FILE: &str = "plugin.wasm";

/// The archive, not compressed yet.
pub(crate) fn archive(module: &[u8]) -> Result<Vec<u8>> {
    // Without a time, so that the same module always makes the same layer.
    Archive::default().file(FILE, module).tar(0)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn it_has_the_module_and_nothing_else() {
        let archive = archive(b"module").unwrap();
        let mut archive = tar::Archive::new(archive.as_slice());
        let mut entries = archive.entries().unwrap();
        let mut file = entries.next().unwrap().unwrap();
        assert_eq!(file.path().unwrap().to_str(), Some(FILE));
        assert_eq!(file.header().mtime().unwrap(), 0);
        let mut module = Vec::new();
        file.read_to_end(&mut module).unwrap();
        assert_eq!(module, b"module");
        assert!(entries.next().is_none());
    }
}
