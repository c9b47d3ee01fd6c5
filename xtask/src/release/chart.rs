//! The Helm chart as the archive that Helm loads.

use std::fs;
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

/// The name and the content of the archive, if there is a chart. It has what is in the repository:
/// no file that only happens to be there.
pub(crate) fn package(
    shell: &Shell,
    version: &str,
    time: u64,
) -> Result<Option<(String, Vec<u8>)>> {
    let listed = cmd!(shell, "git ls-files -z -- {FOLDER}").quiet().read()?;
    let folder = Path::new(FOLDER);
    let mut files = Vec::new();
    for file in listed.split_terminator('\0') {
        let name = Path::new(file).strip_prefix(folder)?;
        let name = name.to_str().context("a name that is not UTF-8")?;
        let content = fs::read(file).with_context(|| format!("can't read {file}"))?;
        files.push((name.to_owned(), content));
    }
    if files.is_empty() {
        return Ok(None);
    }
    archive(files, version, time).map(Some)
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

    fn files() -> Vec<(String, Vec<u8>)> {
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
        let (name, content) = archive(files(), "0.1.0", 7).unwrap();
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
        let mut reversed = files();
        reversed.reverse();
        let one = archive(files(), "0.1.0", 7).unwrap();
        assert_eq!(one, archive(reversed, "0.1.0", 7).unwrap());
    }

    #[test]
    fn a_chart_of_another_version_is_refused() {
        let error = archive(files(), "0.2.0", 7).unwrap_err().to_string();
        assert!(error.contains("0.1.0"), "{error}");
        archive(Vec::new(), "0.1.0", 7).unwrap_err();
    }
}
