//! Envoy's log: a file that takes all that the process writes, a crash report included.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, anyhow};

/// Enough to hold a crash report, and what led to it.
const TAIL_LINES: usize = 80;

/// The file; it lives as long as the folder it is in.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    path: PathBuf,
}

impl Log {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn create(&self) -> anyhow::Result<File> {
        File::create(&self.path).with_context(|| format!("can't create {}", self.path.display()))
    }

    /// All lines so far. A log that can't be read is an empty one: it only serves to explain.
    pub(crate) fn text(&self) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// The first whole line with `text` in it.
    pub(crate) fn line_with(&self, text: &str) -> Option<String> {
        // The last line may still be in the making.
        self.text()
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .find(|line| line.contains(text))
            .map(str::to_owned)
    }

    /// Adds the last lines to an error, which they explain more often than not.
    pub(crate) fn explain(&self, error: &anyhow::Error) -> anyhow::Error {
        anyhow!("{error:#}\n\nEnvoy's log ends with:\n{}", self.tail())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn log(text: &str) -> (tempfile::TempDir, Log) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("envoy.log");
        fs::write(&path, text).unwrap();
        (directory, Log::new(path))
    }

    #[test]
    fn finds_whole_lines_only() {
        let (_directory, log) = log("a pod\nanother pod\na third");
        assert_eq!(log.line_with("pod").as_deref(), Some("a pod"));
        assert_eq!(log.line_with("another").as_deref(), Some("another pod"));
        assert_eq!(log.line_with("third"), None);
    }

    #[test]
    fn explains_with_the_last_lines() {
        let mut text = String::new();
        for line in 1..=100 {
            writeln!(text, "line {line}.").unwrap();
        }
        let (_directory, log) = log(&text);
        let message = log.explain(&anyhow!("no luck")).to_string();
        assert!(message.starts_with("no luck\n"), "{message}");
        assert!(message.contains("line 21."), "{message}");
        assert!(!message.contains("line 20."), "{message}");
        assert!(message.ends_with("line 100."), "{message}");
    }
}
