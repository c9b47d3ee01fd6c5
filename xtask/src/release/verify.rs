//! The release once more, from a copy of the sources in another folder: it must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use super::{CHECKSUMS, FOLDER};
use crate::toolchain;

/// Makes the release of the same commit again, and compares the checksums.
pub(crate) fn verify(shell: &Shell, checksums: &str) -> Result<()> {
    let parent = tempfile::tempdir()?;
    let copy = parent.path().join("a-folder-of-another-name");
    cmd!(shell, "git clone --quiet . {copy}").run()?;
    // The crates, too, are in a folder of another name.
    let crates = parent.path().join("crates");
    symlink(toolchain::cargo_home()?, &crates)?;
    {
        let _there = shell.push_dir(&copy);
        // By the command's own name: all that it does is done anew.
        cmd!(shell, "cargo xtask release")
            .env("CARGO_HOME", &crates)
            .env_remove("CARGO_TARGET_DIR")
            .run()?;
    }
    let file = copy.join(FOLDER).join(CHECKSUMS);
    let again = fs::read_to_string(&file).context("the second release has no checksums")?;
    let different = different(checksums, &again);
    ensure!(
        different.is_empty(),
        "two builds of the same commit differ in {}",
        different.join(", ")
    );
    println!("\nThe same files were made again in another folder.");
    Ok(())
}

/// The files that only one release has, or that are not the same in both.
fn different(one: &str, two: &str) -> Vec<String> {
    let [one, two] = [one, two].map(|sums| -> BTreeMap<&str, &str> {
        let lines = sums.lines().filter_map(|line| line.split_once("  "));
        lines.map(|(hash, name)| (name, hash)).collect()
    });
    let names: BTreeSet<&str> = one.keys().chain(two.keys()).copied().collect();
    names
        .into_iter()
        .filter(|name| one.get(name) != two.get(name))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_that_differs_is_named() {
        let one = "11  a\n22  b\n33  c\n";
        assert!(different(one, one).is_empty());
        assert_eq!(different(one, "11  a\n23  b\n44  d\n"), ["b", "c", "d"]);
    }
}
