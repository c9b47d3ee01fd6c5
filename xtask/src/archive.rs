//! Archives that tell nothing of their making: the same files always make the same bytes.
//!
//! Files are sorted by their names and belong to nobody, and the time is one that the caller knows.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

/// What a file's header says of the system that wrote it, if nobody is to know.
const UNKNOWN_SYSTEM: u8 = 255;

/// Files by their names in the archive.
#[derive(Default)]
pub(crate) struct Archive {
    files: BTreeMap<String, File>,
}

struct File {
    content: Vec<u8>,
    mode: u32,
}

impl Archive {
    pub(crate) fn file(self, name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.with(name.into(), content.into(), 0o644)
    }

    /// A file that can be run.
    pub(crate) fn program(self, name: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.with(name.into(), content.into(), 0o755)
    }

    fn with(mut self, name: String, content: Vec<u8>, mode: u32) -> Self {
        self.files.insert(name, File { content, mode });
        self
    }

    /// The archive, not compressed; all of it changed last at `time`, in seconds since 1970.
    pub(crate) fn tar(&self, time: u64) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, file) in &self.files {
            let mut header = Header::new_ustar();
            header.set_entry_type(EntryType::Regular);
            header.set_size(file.content.len().try_into()?);
            header.set_mode(file.mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(time);
            archive.append_data(&mut header, name, file.content.as_slice())?;
        }
        Ok(archive.into_inner()?)
    }
}

/// Compresses as `gzip --best --no-name`.
pub(crate) fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut compressed = GzBuilder::new()
        .mtime(0)
        .operating_system(UNKNOWN_SYSTEM)
        .write(Vec::new(), Compression::best());
    compressed.write_all(content)?;
    Ok(compressed.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn the_order_of_adding_leaves_no_trace() {
        let one = Archive::default().file("b", "1").program("a", "2");
        let two = Archive::default().program("a", "2").file("b", "1");
        assert_eq!(one.tar(7).unwrap(), two.tar(7).unwrap());
        assert_ne!(one.tar(7).unwrap(), one.tar(8).unwrap());
    }

    #[test]
    fn all_is_fixed_that_an_archive_tells_of_its_making() {
        let archive = Archive::default().file("b", "text").program("a/run", "bin");
        let compressed = gzip(&archive.tar(7).unwrap()).unwrap();
        let decoder = GzDecoder::new(compressed.as_slice());
        let header = decoder.header().unwrap();
        assert_eq!((header.mtime(), header.filename()), (0, None));
        assert_eq!(header.operating_system(), UNKNOWN_SYSTEM);

        let mut archive = tar::Archive::new(decoder);
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(header.mtime().unwrap(), 7);
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.username().unwrap(), Some(""));
            assert_eq!(header.groupname().unwrap(), Some(""));
            let mode = header.mode().unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            found.push((name, mode, content));
        }
        let expected = [("a/run", 0o755, "bin"), ("b", 0o644, "text")];
        assert_eq!(
            found,
            expected.map(|(name, mode, text)| (name.to_owned(), mode, text.to_owned()))
        );
    }
}
