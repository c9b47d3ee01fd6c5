//! The files of a release, their checksums, and what must not be in them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use memchr::memmem;
use sha2::{Digest, Sha256};

/// The checksums of all other files, for `sha256sum --check`.
pub(crate) const CHECKSUMS: &str = "SHA256SUMS";

/// Files by their names.
pub(crate) struct Files {
    files: BTreeMap<String, Vec<u8>>,
    /// Folders of this machine.
    folders: Vec<PathBuf>,
}

impl Files {
    /// Without files; none of them may name one of the folders of this machine.
    pub(crate) fn new(folders: Vec<PathBuf>) -> Self {
        let files = BTreeMap::new();
        Self { files, folders }
    }

    /// # Errors
    ///
    /// If a folder of this machine is in the content, compressed or not.
    pub(crate) fn add(&mut self, name: impl Into<String>, content: Vec<u8>) -> Result<()> {
        let name = name.into();
        let found = if content.starts_with(&GZIP) {
            let mut decompressed = Vec::new();
            GzDecoder::new(content.as_slice())
                .read_to_end(&mut decompressed)
                .context("it can't be decompressed")?;
            self.find_folder(&decompressed)
        } else {
            self.find_folder(&content)
        };
        if let Some(folder) = found {
            bail!(
                "{name} names {}, a folder of this machine",
                folder.display()
            );
        }
        ensure!(
            self.files.insert(name.clone(), content).is_none(),
            "there are two of {name}"
        );
        Ok(())
    }

    fn find_folder(&self, content: &[u8]) -> Option<&Path> {
        let mut folders = self.folders.iter();
        folders
            .find(|folder| {
                let mut bytes = folder.as_os_str().as_bytes().to_vec();
                bytes.push(b'/');
                memmem::find(content, &bytes).is_some()
            })
            .map(PathBuf::as_path)
    }

    /// The names, with the sizes in bytes.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.files
            .iter()
            .map(|(name, content)| (name.as_str(), content.len()))
    }

    /// A line for each file, as `sha256sum` writes them.
    pub(crate) fn checksums(&self) -> String {
        let mut lines = String::new();
        for (name, content) in &self.files {
            // Writing into a text does not fail.
            let _ = writeln!(lines, "{:x}  {name}", Sha256::digest(content));
        }
        lines
    }

    /// Writes all files and their checksums into a folder that is made anew.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        remove(folder)?;
        fs::create_dir_all(folder)?;
        for (name, content) in &self.files {
            fs::write(folder.join(name), content).with_context(|| format!("can't write {name}"))?;
        }
        Ok(fs::write(folder.join(CHECKSUMS), self.checksums())?)
    }
}

/// How what is compressed begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Removes an earlier release, but nothing that is not one.
fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        let is_release = folder.join(CHECKSUMS).exists();
        ensure!(is_release, "{} is not a release's", folder.display());
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Archive, gzip};

    fn files() -> Files {
        Files::new(vec![PathBuf::from("/home/me"), PathBuf::from("/work/tree")])
    }

    #[test]
    fn no_file_names_a_folder_of_the_machine() {
        let mut files = files();
        let leak = b"panicked at /work/tree/src/lib.rs".as_slice();
        let archive = Archive::default().file("program", leak).tar(0).unwrap();
        for content in [leak.to_vec(), archive.clone(), gzip(&archive).unwrap()] {
            let error = files.add("file", content).unwrap_err().to_string();
            assert_eq!(error, "file names /work/tree, a folder of this machine");
        }
        files
            .add("file", b"/home/meadow /work/trees/1".to_vec())
            .unwrap();
        files.add("file", Vec::new()).unwrap_err();
    }

    #[test]
    fn the_checksums_are_those_of_the_files() {
        let mut files = files();
        files.add("b", b"2".to_vec()).unwrap();
        files.add("a", b"1".to_vec()).unwrap();
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("release");
        // Also over an earlier one.
        for _ in 0..2 {
            files.write(&folder).unwrap();
            let sums = fs::read_to_string(folder.join(CHECKSUMS)).unwrap();
            let lines: Vec<(&str, &str)> = sums
                .lines()
                .map(|line| line.split_once("  ").unwrap())
                .collect();
            let names: Vec<&str> = lines.iter().map(|(_hash, name)| *name).collect();
            assert_eq!(names, ["a", "b"]);
            for (hash, name) in lines {
                let content = fs::read(folder.join(name)).unwrap();
                assert_eq!(hash, format!("{:x}", Sha256::digest(content)));
            }
        }
        files.write(parent.path()).unwrap_err();
        assert!(folder.join("a").exists());
    }
}
