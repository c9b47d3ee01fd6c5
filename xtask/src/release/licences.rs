//! Licences of all that a release is made of, in one text: who has which, and the notices.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use cargo_metadata::Package;
use spdx::{Expression, LicenseReq, Licensee, ParseMode};

use super::catalogue::Catalogue;
use super::program::{Id, Parts, Program};

/// The licences that a part may have, the best first. They ask for no more than a notice.
const ACCEPTED: [&str; 10] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "CC0-1.0",
    "Unlicense",
];

/// How the names of files begin in which packages have their licences and notices.
const FILES: [&str; 6] = [
    "license",
    "licence",
    "copying",
    "copyright",
    "notice",
    "unlicense",
];

/// Whose the C libraries are that the toolchain brings along. The one for Wasm is made of the other.
const MUSL: &str = "2005-2020 Rich Felker, et al.";

/// What a package lets others do, and what it asks of them.
struct Licence {
    /// As the package has it.
    expression: String,
    /// Texts of its files, or the standard text of what was chosen where it has none.
    texts: BTreeSet<String>,
}

/// The text for all that the programs are made of.
pub(crate) fn text(programs: &[(&Program, &Parts)], catalogue: &Catalogue) -> Result<String> {
    let mut used: BTreeMap<&Id, Vec<&str>> = BTreeMap::new();
    for (program, parts) in programs {
        for (id, part) in &parts.parts {
            if catalogue.package(id)?.source.is_some() {
                let programs = used.entry(id).or_default();
                if part.is_inside {
                    programs.push(program.file);
                }
            }
        }
    }
    let mut list = String::new();
    let mut notices: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (id, programs) in used {
        let name = format!("{} {}", id.name, id.version);
        let licence = Licence::of(catalogue.package(id)?)?;
        let programs = match programs.as_slice() {
            [] => "only for compiling".to_owned(),
            programs => format!("in {}", programs.join(", ")),
        };
        writeln!(list, "{name}: {}; {programs}", licence.expression)?;
        for text in licence.texts {
            notices.entry(text).or_default().push(name.clone());
        }
    }
    for (program, _parts) in programs {
        writeln!(list, "{}: MIT; in {}", program.c_library, program.file)?;
        let text = standard_text("MIT", MUSL)?;
        let users = notices.entry(text).or_default();
        users.push(program.c_library.to_owned());
    }
    let mut text = format!(
        "What is in a release of wsbalancer beside its own code, which is under the MIT License.\n\
         Rust's standard library, which is also in it, has a file of its own.\n\n{list}"
    );
    for (notice, users) in notices {
        let line = "-".repeat(80);
        write!(text, "\n{line}\n{}\n{line}\n\n{notice}", users.join(", "))?;
    }
    Ok(text)
}

impl Licence {
    fn of(package: &Package) -> Result<Self> {
        let name = format!("{} {}", package.name, package.version);
        let expression = package.license.as_deref();
        let expression = expression.with_context(|| format!("{name} names no licence"))?;
        let chosen = choose(expression).with_context(|| name.clone())?;
        let folder = package.manifest_path.parent().context("no folder")?;
        let mut texts = files(folder.as_std_path())?;
        if let Some(file) = package.license_file() {
            texts.insert(read(file.as_std_path())?);
        }
        if texts.is_empty() {
            let authors = package.authors.join(", ");
            let holders = if authors.is_empty() {
                format!("the authors of {}", package.name)
            } else {
                authors
            };
            for licence in chosen {
                texts.insert(standard_text(&licence, &holders)?);
            }
        }
        // Some packages have the sign of before 2.0 between what may be chosen.
        let expression = expression.replace('/', " OR ");
        Ok(Self { expression, texts })
    }
}

/// The licences that fulfil an expression, the best of the accepted ones.
fn choose(expression: &str) -> Result<Vec<String>> {
    let parsed = Expression::parse_mode(expression, ParseMode::LAX)
        .with_context(|| format!("{expression} is no licence"))?;
    let accepted = ACCEPTED.map(Licensee::parse);
    let accepted: Vec<Licensee> = accepted.into_iter().collect::<Result<_, _>>()?;
    let chosen = parsed
        .minimized_requirements(&accepted)
        .with_context(|| format!("{expression} is not accepted"))?;
    Ok(chosen.iter().map(LicenseReq::to_string).collect())
}

/// The texts in a package's folder.
fn files(folder: &Path) -> Result<BTreeSet<String>> {
    let mut texts = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path: PathBuf = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_lowercase();
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        if path.is_file() && !is_source && FILES.iter().any(|start| name.starts_with(start)) {
            texts.insert(read(&path)?);
        }
    }
    Ok(texts)
}

/// The text without what makes the same text differ: line ends, and space around it.
fn read(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    Ok(format!("{}\n", lines.join("\n").trim_matches('\n')))
}

/// The text of a licence for those who hold the copyright.
fn standard_text(licence: &str, holders: &str) -> Result<String> {
    let name = licence.split(' ').next().unwrap_or(licence);
    let id = spdx::license_id(name).with_context(|| format!("{licence} has no text"))?;
    let text = id.text().replace("<year> <copyright holders>", holders);
    ensure!(!text.trim().is_empty(), "{licence} has no text");
    Ok(format!("{}\n", text.trim_matches('\n')))
}

#[cfg(test)]
mod tests {
    use xshell::Shell;

    use super::super::program::{MODULE, TOOL};
    use super::*;
    use crate::toolchain::Toolchain;

    #[test]
    fn no_part_is_without_a_known_licence_and_its_text() {
        let shell = Shell::new().unwrap();
        let toolchain = Toolchain::find(&shell).unwrap();
        let catalogue = Catalogue::read(&toolchain.host).unwrap();
        let parts = [&MODULE, &TOOL].map(|program| Parts::of(&shell, program).unwrap());
        let programs = [(&MODULE, &parts[0]), (&TOOL, &parts[1])];
        let text = text(&programs, &catalogue).unwrap();
        let (list, notices) = text.split_once("\n---").unwrap();
        for id in parts.iter().flat_map(|parts| parts.parts.keys()) {
            let name = format!("{} {}", id.name, id.version);
            let is_own = catalogue.package(id).unwrap().source.is_none();
            assert_eq!(list.contains(&format!("\n{name}: ")), !is_own, "{name}");
            assert_eq!(notices.contains(&name), !is_own, "{name}");
        }
        assert!(list.contains("\nmusl: MIT; in "));
        assert!(notices.contains("\n\nMIT License\n\nCopyright (c) 2005-2020 Rich Felker"));
        assert!(!text.contains("<copyright holders>"));
    }

    #[test]
    fn licences_are_chosen_as_their_expressions_allow() {
        assert_eq!(choose("Apache-2.0 OR MIT").unwrap(), ["MIT"]);
        assert_eq!(choose("MIT/Apache-2.0").unwrap(), ["MIT"]);
        let both = choose("(MIT OR Apache-2.0) AND Unicode-3.0").unwrap();
        assert_eq!(both, ["MIT", "Unicode-3.0"]);
        assert_eq!(choose("GPL-3.0-only OR ISC").unwrap(), ["ISC"]);
        for refused in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "", "nonsense"] {
            choose(refused).unwrap_err();
        }
    }

    #[test]
    fn each_accepted_licence_has_a_text() {
        for licence in ACCEPTED {
            let text = standard_text(licence, "Nobody").unwrap();
            assert!(text.len() > 100, "{licence}");
        }
    }

    #[test]
    fn texts_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("LICENSE-MIT", "one\r\n"),
            ("license.md", "\none"),
            ("NOTICE", "two"),
            ("license.rs", "code"),
            ("README.md", "no"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let texts = files(folder.path()).unwrap();
        assert_eq!(texts, ["one\n", "two\n"].map(str::to_owned).into());
    }
}
