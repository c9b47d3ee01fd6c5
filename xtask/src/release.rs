//! All that a release carries, made in one folder.
//!
//! The same commit, compiled by the same version of Rust, always makes the same bytes: whoever doubts
//! a release makes it again. So nothing of the machine is in a file, neither a path nor a time, and
//! what is compressed or archived has one order.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use oci_spec::distribution::Reference;
use xshell::Shell;

use crate::archive::{Archive, gzip};
use crate::toolchain::Toolchain;
use crate::{image, wasm};

mod catalogue;
mod chart;
mod files;
mod licences;
mod program;
mod sbom;
mod sources;
mod tool;
mod verify;
#[cfg(test)]
mod workflow;

use catalogue::Catalogue;
use files::{CHECKSUMS, Files};
use program::{MODULE, Parts, TOOL};
use sbom::Making;

/// Where a release is made.
pub(crate) const FOLDER: &str = "target/release-files";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The image, as tools take it that push images.
const IMAGE: &str = "wsbalancer-image.tar";
const LICENCE: &str = "LICENSE";
/// What others have written of what is in the programs, and what the standard library's authors have.
const NOTICES: &str = "THIRD-PARTY-LICENSES.txt";
const LIBRARY_NOTICES: &str = "RUST-LIBRARY-LICENSES.html";
/// Schemas of the configuration, for editors.
const SCHEMAS: [&str; 2] = ["wsbalancer.schema.json", "embedded.schema.json"];
const SCHEMAS_FOLDER: &str = "envoy/schema";

/// Makes a release of what was committed, or also of what was not; and once more elsewhere, to see
/// that it is the same.
pub(crate) fn make(shell: &Shell, allow_dirty: bool, verify: bool) -> Result<()> {
    if !allow_dirty {
        sources::ensure_committed(shell)?;
    }
    sources::ensure_tag_is(shell, VERSION)?;
    let start = Instant::now();
    let files = build(shell)?;
    files.write(Path::new(FOLDER))?;
    let checksums = files.checksums();
    println!("\n{FOLDER}, in {:.0} s:", start.elapsed().as_secs_f64());
    for (name, size) in files.sizes() {
        println!("  {:>5} kB  {name}", size.div_ceil(1000));
    }
    print!("\n{CHECKSUMS}:\n{checksums}");
    if verify {
        let start = Instant::now();
        verify::verify(shell, &checksums)?;
        println!("That took {:.0} s.", start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn build(shell: &Shell) -> Result<Files> {
    let toolchain = Toolchain::find(shell)?;
    let time = sources::time(shell)?;
    wasm::build(shell)?;
    let module = read(wasm::FINISHED)?;
    let tool = tool::build(shell, &toolchain)?;

    let catalogue = Catalogue::read(&toolchain.host)?;
    let module_parts = Parts::of(shell, &MODULE)?;
    let tool_parts = Parts::of(shell, &TOOL)?;
    let notices = licences::text(
        &[(&MODULE, &module_parts), (&TOOL, &tool_parts)],
        &catalogue,
    )?;
    let library_notices = toolchain.notices()?;
    let licence = read(LICENCE)?;
    // With the notices: whoever has the program has them.
    let tool = Archive::default()
        .program(tool::NAME, tool)
        .file(LICENCE, licence.as_slice())
        .file(NOTICES, notices.as_str())
        .file(LIBRARY_NOTICES, library_notices.as_str());
    let tool = gzip(&tool.tar(time)?)?;

    let making = Making {
        time,
        rust: &toolchain.version,
    };
    let mut files = Files::new(toolchain.folders()?);
    for (program, parts, content) in [(&MODULE, &module_parts, module), (&TOOL, &tool_parts, tool)]
    {
        let bill = sbom::bill(program, parts, &catalogue, &making, &content)?;
        files.add(format!("{}.cdx.json", program.file), bill)?;
        files.add(program.file, content)?;
    }
    files.add(IMAGE, image(time)?)?;
    files.add(LICENCE, licence)?;
    files.add(NOTICES, notices.into_bytes())?;
    files.add(LIBRARY_NOTICES, library_notices.into_bytes())?;
    for schema in SCHEMAS {
        files.add(schema, read(&format!("{SCHEMAS_FOLDER}/{schema}"))?)?;
    }
    if let Some((name, chart)) = chart::package(shell, VERSION, time)? {
        files.add(name, chart)?;
    }
    Ok(files)
}

/// The image's layout as an archive.
fn image(time: u64) -> Result<Vec<u8>> {
    let name: Reference = concat!("wsbalancer:", env!("CARGO_PKG_VERSION")).parse()?;
    image::archive(&name)?.tar(time)
}

fn read(file: &str) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("can't read {file}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_documentation_lists_the_files() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/releases.md");
        let page = fs::read_to_string(page).unwrap();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
        let listed: BTreeSet<String> = rows
            .filter_map(|row| row.split(" | ").next())
            .flat_map(|names| names.split('`').skip(1).step_by(2))
            .map(|name| name.replace("VERSION", VERSION))
            .collect();
        let bills = [&MODULE, &TOOL].map(|program| format!("{}.cdx.json", program.file));
        let others = [
            MODULE.file,
            TOOL.file,
            IMAGE,
            LICENCE,
            NOTICES,
            LIBRARY_NOTICES,
        ];
        let files: BTreeSet<String> = others
            .into_iter()
            .chain(SCHEMAS)
            .chain([CHECKSUMS])
            .map(str::to_owned)
            .chain(bills)
            .chain([format!("wsbalancer-{VERSION}.tgz")])
            .collect();
        assert_eq!(listed, files);
    }
}
