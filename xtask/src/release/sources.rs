//! What a release is made of: a commit, and nothing that is not in it.

use std::env;

use anyhow::{Context, Result, bail, ensure};
use xshell::{Shell, cmd};

/// The time to write into what is made, in seconds since 1970, where the sources are no repository:
/// <https://reproducible-builds.org/specs/source-date-epoch/>.
const TIME: &str = "SOURCE_DATE_EPOCH";

/// When the sources changed last, in seconds since 1970: that goes into archives, as their own time.
pub(crate) fn time(shell: &Shell) -> Result<u64> {
    let time = match env::var(TIME) {
        Ok(time) => time,
        Err(_) => cmd!(shell, "git log -1 --format=%ct").quiet().read()?,
    };
    time.trim()
        .parse()
        .with_context(|| format!("{TIME} is no time: {time}"))
}

/// Refuses changes that are in no commit: nobody else could make the same of them.
pub(crate) fn ensure_committed(shell: &Shell) -> Result<()> {
    let changes = cmd!(shell, "git status --porcelain").quiet().read()?;
    ensure!(
        changes.is_empty(),
        "there are changes that are in no commit (--allow-dirty goes on with them):\n{changes}"
    );
    Ok(())
}

/// Refuses a commit whose tag is one of another version.
pub(crate) fn ensure_tag_is(shell: &Shell, version: &str) -> Result<()> {
    let tags = cmd!(shell, "git tag --points-at HEAD").quiet().read()?;
    check_tags(&tags, version)
}

fn check_tags(tags: &str, version: &str) -> Result<()> {
    let mut versions = tags.lines().filter_map(|tag| tag.strip_prefix('v'));
    match versions.find(|&tagged| tagged != version) {
        Some(other) => bail!("the commit is tagged v{other}, and its version is {version}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_of_another_version_is_refused() {
        check_tags("", "0.1.0").unwrap();
        check_tags("v0.1.0\nlatest", "0.1.0").unwrap();
        let error = check_tags("v0.2.0", "0.1.0").unwrap_err().to_string();
        assert!(error.contains("v0.2.0"), "{error}");
    }
}
