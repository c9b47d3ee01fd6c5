//! The image's layer: an archive of the module alone.
//!
//! All that an archive usually tells of its making is fixed, so that the same module always makes
//! the same layer.

use std::io::Write;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

/// What the module is called, for Istio and Envoy Gateway.
const FILE: &str = "plugin.wasm";
/// What a file's header says of the system that wrote it, if nobody is to know.
const UNKNOWN_SYSTEM: u8 = 255;

/// The archive, not compressed yet.
pub(crate) fn archive(module: &[u8]) -> Result<Vec<u8>> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_size(module.len().try_into()?);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, FILE, module)?;
    Ok(archive.into_inner()?)
}

pub(crate) fn compress(archive: &[u8]) -> Result<Vec<u8>> {
    let mut compressed = GzBuilder::new()
        .mtime(0)
        .operating_system(UNKNOWN_SYSTEM)
        .write(Vec::new(), Compression::best());
    compressed.write_all(archive)?;
    Ok(compressed.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn it_has_the_module_and_nothing_of_this_machine() {
        let layer = compress(&archive(b"module").unwrap()).unwrap();
        let decoder = GzDecoder::new(layer.as_slice());
        let header = decoder.header().unwrap();
        assert_eq!((header.mtime(), header.filename()), (0, None));
        assert_eq!(header.operating_system(), UNKNOWN_SYSTEM);

        let mut archive = tar::Archive::new(decoder);
        let mut entries = archive.entries().unwrap();
        let mut file = entries.next().unwrap().unwrap();
        assert_eq!(file.path().unwrap().to_str(), Some(FILE));
        let header = file.header();
        assert_eq!(header.mtime().unwrap(), 0);
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(header.mode().unwrap(), 0o644);
        assert_eq!(header.username().unwrap(), Some(""));
        let mut module = Vec::new();
        file.read_to_end(&mut module).unwrap();
        assert_eq!(module, b"module");
        assert!(entries.next().is_none());
    }
}
