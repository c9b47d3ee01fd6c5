//! The Helm chart as the archive that Helm loads.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use xshell::{Shell, cmd};

use crate::archive::{Archive, gzip};

/// Where the chart is.
const FOLDER: &str = "deploy/helm/wsbalancer";
const DESCRIPTION: &str = "Chart.yaml";

/// What its description says.
#[derive(Deserialize)]
struct Chart {
    name: String,
    version: String,
}

/// The name and the content of the archive, if there is a chart.
pub(crate) fn package(
    shell: &Shell,
    version: &str,
    time: u64,
) -> Result<Option<(String, Vec<u8>)>> {
    let files = files(shell)?;
    if files.is_empty() {
        return Ok(None);
    }
    archive(files, version, time).map(Some)
}

/// What is in the repository, and no file that only happens to be there; without what Helm is told
/// to leave out, which Git reads as Helm does.
fn files(shell: &Shell) -> Result<Vec<(String, Vec<u8>)>> {
    let list = cmd!(shell, "git ls-files -z --cached");
    let all = list.arg(FOLDER).quiet().read()?;
    let list = cmd!(
        shell,
        "git ls-files -z --cached --ignored --exclude-per-directory=.helmignore"
    );
    let left_out = list.arg(FOLDER).quiet().read()?;
    let left_out: BTreeSet<&str> = left_out.split_terminator('\0').collect();
    let mut files = Vec::new();
    for file in all.split_terminator('\0') {
        if left_out.contains(file) {
            continue;
        }
        let name = Path::new(file).strip_prefix(FOLDER)?;
        let name = name.to_str().context("a name that is not UTF-8")?;
        files.push((name.to_owned(), shell.read_binary_file(file)?));
    }
    Ok(files)
}

fn archive(files: Vec<(String, Vec<u8>)>, version: &str, time: u64) -> Result<(String, Vec<u8>)> {
    let description = files.iter().find(|(name, _content)| name == DESCRIPTION);
    let (_name, description) = description.with_context(|| format!("no {DESCRIPTION}"))?;
    let chart: Chart = serde_saphyr::from_slice(description).context(DESCRIPTION)?;
    ensure!(
        chart.version == version,
        "the chart's version is {}, and that of all else {version}",
        chart.version
    );
    let mut archive = Archive::default();
    for (name, content) in files {
        archive = archive.file(format!("{}/{name}", chart.name), content);
    }
    let name = format!("{}-{}.tgz", chart.name, chart.version);
    Ok((name, gzip(&archive.tar(time)?)?))
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn the_files_are_those_of_the_repository_that_helm_takes() {
        let parent = tempfile::tempdir().unwrap();
        let shell = Shell::new().unwrap();
        shell.change_dir(parent.path());
        cmd!(shell, "git init --quiet").run().unwrap();
        assert_eq!(package(&shell, "0.1.0", 0).unwrap(), None);

        let folder = Path::new(FOLDER);
        for (name, content) in [
            (".helmignore", "ci/\n"),
            ("Chart.yaml", "name: wsbalancer\nversion: 0.1.0\n"),
            ("ci/values.yaml", ""),
            ("values.yaml", "target: envoy\n"),
        ] {
            shell.write_file(folder.join(name), content).unwrap();
        }
        cmd!(shell, "git add .").run().unwrap();
        shell.write_file(folder.join("stray.yaml"), "").unwrap();
        let names: Vec<String> = files(&shell)
            .unwrap()
            .into_iter()
            .map(|(name, _content)| name)
            .collect();
        assert_eq!(names, [".helmignore", "Chart.yaml", "values.yaml"]);
        assert!(package(&shell, "0.1.0", 0).unwrap().is_some());
    }

    fn some_files() -> Vec<(String, Vec<u8>)> {
        [
            ("templates/filter.yaml", "kind: EnvoyFilter"),
            (
                "Chart.yaml",
                "apiVersion: v2\nname: wsbalancer\nversion: 0.1.0\n",
            ),
        ]
        .map(|(name, content)| (name.to_owned(), content.as_bytes().to_owned()))
        .into()
    }

    #[test]
    fn the_archive_has_the_chart_in_a_folder_of_its_name() {
        let (name, content) = archive(some_files(), "0.1.0", 7).unwrap();
        assert_eq!(name, "wsbalancer-0.1.0.tgz");
        let mut archive = tar::Archive::new(GzDecoder::new(content.as_slice()));
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().into_owned())
            .collect();
        let expected = ["wsbalancer/Chart.yaml", "wsbalancer/templates/filter.yaml"];
        assert_eq!(names, expected.map(Path::new));
    }

    #[test]
    fn the_order_of_the_files_leaves_no_trace() {
        let mut reversed = some_files();
        reversed.reverse();
        let one = archive(some_files(), "0.1.0", 7).unwrap();
        assert_eq!(one, archive(reversed, "0.1.0", 7).unwrap());
    }

    #[test]
    fn a_chart_of_another_version_is_refused() {
        let error = archive(some_files(), "0.2.0", 7).unwrap_err().to_string();
        assert!(error.contains("0.1.0"), "{error}");
        archive(Vec::new(), "0.1.0", 7).unwrap_err();
    }
}
