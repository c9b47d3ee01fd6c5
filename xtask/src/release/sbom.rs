//! The bill of materials of a program, in `CycloneDX` 1.5: each package with its version, licence,
//! checksum and place in the graph.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use cyclonedx_bom::external_models::spdx::SpdxExpression;
use cyclonedx_bom::external_models::uri::Purl;
use cyclonedx_bom::models::bom::{Bom, SpecVersion};
use cyclonedx_bom::models::component::{Classification, Component, Components, Scope};
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::metadata::Metadata;
use cyclonedx_bom::models::tool::Tools;
use cyclonedx_bom::validation::Validate;
use sha2::{Digest, Sha256};

use super::catalogue::Catalogue;
use super::program::{Id, Part, Parts, Program};

const VERSION: SpecVersion = SpecVersion::V1_5;

/// What a bill tells besides the packages.
pub(crate) struct Making<'a> {
    /// When the sources changed last, in seconds since 1970.
    pub(crate) time: u64,
    /// The version of Rust's toolchain, and so of its standard library.
    pub(crate) rust: &'a str,
}

/// The bill of a program whose file is `content`.
pub(crate) fn bill(
    program: &Program,
    parts: &Parts,
    catalogue: &Catalogue,
    making: &Making<'_>,
    content: &[u8],
) -> Result<Vec<u8>> {
    let libraries = libraries(program, making);
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for (id, part) in &parts.parts {
        let mut uses: Vec<String> = part.uses.iter().map(reference).collect();
        if *id == parts.root {
            uses.extend(
                libraries
                    .iter()
                    .filter_map(|library| library.bom_ref.clone()),
            );
        } else {
            components.push(component(id, part, catalogue)?);
        }
        dependencies.push(Dependency {
            dependency_ref: reference(id),
            dependencies: uses,
        });
    }
    components.extend(libraries);

    let compiler = Component::new(
        Classification::Application,
        "rustc",
        making.rust,
        Some(format!("rustc@{}", making.rust)),
    );
    let time = UNIX_EPOCH + Duration::from_secs(making.time);
    let metadata = Metadata {
        timestamp: Some(
            humantime::format_rfc3339_seconds(time)
                .to_string()
                .try_into()?,
        ),
        tools: Some(Tools::Object {
            services: None,
            components: Some(Components(vec![compiler])),
        }),
        component: Some(subject(program, &parts.root, catalogue, content)?),
        ..Metadata::default()
    };
    let bom = Bom {
        // It would be random.
        serial_number: None,
        metadata: Some(metadata),
        components: Some(Components(components)),
        dependencies: Some(Dependencies(dependencies)),
        spec_version: VERSION,
        ..Bom::default()
    };
    let valid = bom.validate_version(VERSION);
    ensure!(valid.passed(), "{}: {valid:?}", program.file);
    let mut json = Vec::new();
    bom.output_as_json_v1_5(&mut json)
        .context("the bill can't be written")?;
    json.push(b'\n');
    Ok(json)
}

/// The program itself.
fn subject(
    program: &Program,
    root: &Id,
    catalogue: &Catalogue,
    content: &[u8],
) -> Result<Component> {
    let mut subject = Component::new(
        Classification::Application,
        program.file,
        &root.version.to_string(),
        Some(reference(root)),
    );
    subject.hashes = Some(sha256(&format!("{:x}", Sha256::digest(content))));
    subject.licenses = licences(catalogue.package(root)?.license.as_deref())?;
    Ok(subject)
}

fn component(id: &Id, part: &Part, catalogue: &Catalogue) -> Result<Component> {
    let package = catalogue.package(id)?;
    let mut component = Component::new(
        Classification::Library,
        &id.name,
        &id.version.to_string(),
        Some(reference(id)),
    );
    component.scope = Some(if part.is_inside {
        Scope::Required
    } else {
        Scope::Excluded
    });
    component.licenses = licences(package.license.as_deref())?;
    component.hashes = catalogue.checksum(id).map(sha256);
    if package.source.is_some() {
        component.purl = Some(Purl::new("cargo", &id.name, &id.version.to_string())?);
    }
    Ok(component)
}

/// What is in each program without being a package of Cargo's.
fn libraries(program: &Program, making: &Making<'_>) -> Vec<Component> {
    let library = |name: &str, version: Option<&str>, licence: &str| {
        let mut library = Component::new(
            Classification::Library,
            name,
            version.unwrap_or_default(),
            Some(name.to_owned()),
        );
        if version.is_none() {
            library.version = None;
        }
        library.scope = Some(Scope::Required);
        library.licenses = Some(Licenses(vec![LicenseChoice::expression(licence)]));
        library
    };
    vec![
        library("rust-std", Some(making.rust), "MIT OR Apache-2.0"),
        // The toolchain brings it along, and does not tell which version.
        library(program.c_library, None, "MIT"),
    ]
}

fn reference(id: &Id) -> String {
    format!("{}@{}", id.name, id.version)
}

fn sha256(hash: &str) -> Hashes {
    Hashes(vec![Hash {
        alg: HashAlgorithm::SHA_256,
        content: HashValue(hash.to_owned()),
    }])
}

fn licences(expression: Option<&str>) -> Result<Option<Licenses>> {
    let Some(expression) = expression else {
        return Ok(None);
    };
    let expression = SpdxExpression::parse_lax(expression.to_owned())?;
    Ok(Some(Licenses(vec![LicenseChoice::Expression(expression)])))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use xshell::Shell;

    use super::super::program::{MODULE, TOOL};
    use super::*;
    use crate::toolchain::Toolchain;

    fn bill_of(program: &Program, content: &[u8]) -> (Parts, Vec<u8>) {
        let shell = Shell::new().unwrap();
        let toolchain = Toolchain::find(&shell).unwrap();
        let catalogue = Catalogue::read(&toolchain.host).unwrap();
        let parts = Parts::of(&shell, program).unwrap();
        let making = Making {
            time: 1_700_000_000,
            rust: "1.95.0",
        };
        let bill = bill(program, &parts, &catalogue, &making, content).unwrap();
        (parts, bill)
    }

    #[test]
    fn a_bill_is_valid_and_has_each_package() {
        for program in [&MODULE, &TOOL] {
            let (parts, json) = bill_of(program, b"content");
            let bom = Bom::parse_from_json_v1_5(json.as_slice()).unwrap();
            assert!(bom.validate_version(VERSION).passed());

            let bill: Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(bill["bomFormat"], "CycloneDX");
            assert_eq!(bill["specVersion"], "1.5");
            assert_eq!(bill["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
            let subject = &bill["metadata"]["component"];
            assert_eq!(subject["name"], program.file);
            let hash = format!("{:x}", Sha256::digest(b"content"));
            assert_eq!(subject["hashes"][0]["content"], hash);

            let components = bill["components"].as_array().unwrap();
            // All but the program's own package, and the two libraries of the target.
            assert_eq!(components.len(), parts.parts.len() - 1 + 2);
            for component in components {
                let name = &component["name"];
                let licence = &component["licenses"][0]["expression"];
                assert!(licence.is_string(), "{name} has no licence");
                // What is not the project's own is from a registry, with a checksum.
                if let Some(purl) = component["purl"].as_str() {
                    assert!(purl.starts_with("pkg:cargo/"), "{purl}");
                    assert_eq!(component["hashes"][0]["alg"], "SHA-256", "{name}");
                }
            }
            let graph = bill["dependencies"].as_array().unwrap();
            assert_eq!(graph.len(), parts.parts.len());
        }
    }

    #[test]
    fn a_bill_is_always_the_same() {
        assert_eq!(bill_of(&MODULE, b"1").1, bill_of(&MODULE, b"1").1);
        assert_ne!(bill_of(&MODULE, b"1").1, bill_of(&MODULE, b"2").1);
    }

    #[test]
    fn a_bill_tells_what_is_inside_and_what_only_compiled_it() {
        let (_parts, json) = bill_of(&MODULE, b"");
        let bill: Value = serde_json::from_slice(&json).unwrap();
        let component = |name: &str| {
            let components = bill["components"].as_array().unwrap();
            components.iter().find(|part| part["name"] == name).unwrap()
        };
        assert_eq!(component("proxy-wasm")["scope"], "required");
        assert_eq!(component("serde_derive")["scope"], "excluded");
        let graph = bill["dependencies"].as_array().unwrap();
        let root = graph
            .iter()
            .find(|node| node["ref"] == bill["metadata"]["component"]["bom-ref"])
            .unwrap();
        let uses = root["dependsOn"].as_array().unwrap();
        for name in ["rust-std".to_owned(), "wasi-libc".to_owned()]
            .into_iter()
            .chain(
                ["proxy-wasm", "serde_derive"]
                    .map(|name| component(name)["bom-ref"].as_str().unwrap().to_owned()),
            )
        {
            assert!(uses.contains(&Value::from(name.as_str())), "{name}");
        }
    }
}
