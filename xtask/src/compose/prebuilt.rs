//! Images of what this machine has built already.
//!
//! The Dockerfile compiles filter, programs and all that they depend on in a container. Where tests
//! have just done the same outside, its last stages get the finished files: what runs in the
//! containers is then the same, and so is how the images are made of it.

use std::path::Path;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::wasm;

use super::images::{DEBIAN, DOCKERFILE};

/// What the images are made of, and how.
const FOLDER: &str = "target/images/prebuilt";
/// Has docker-compose.yml build there.
const OVERRIDE: &str = "target/images/prebuilt/docker-compose.yml";
/// The program in the images of pod and client.
const PROGRAM: &str = "wsbalancer";
/// What the images have beside what was built.
const CONFIGURATION: &str = "envoy/dns.yaml";
/// The version of the C library in the images, which are of Debian 12.
const GLIBC: (u32, u32) = (2, 36);

/// Whether a program of this machine runs in the images: one of a newer C library does not.
pub(crate) fn fits(shell: &Shell) -> bool {
    let version = cmd!(shell, "getconf GNU_LIBC_VERSION").quiet();
    let version = version.ignore_stderr().read().ok();
    version.is_some_and(|version| runs_on(&version, GLIBC))
}

/// Whether what `version` says, such as `glibc 2.36`, is no newer than `limit`.
fn runs_on(version: &str, limit: (u32, u32)) -> bool {
    let numbers = version.strip_prefix("glibc ");
    let numbers = numbers.and_then(|numbers| numbers.split_once('.'));
    numbers.is_some_and(|(major, minor)| {
        let both = major.parse().ok().zip(minor.parse().ok());
        both.is_some_and(|found| found <= limit)
    })
}

/// Puts the program and the module, which was built before, where images can be made of them; the
/// files for docker-compose.
pub(super) fn provide(shell: &Shell) -> Result<String> {
    // With the features that the tests of the whole workspace have: nothing is compiled anew.
    cmd!(
        shell,
        "cargo build --quiet --workspace --all-features --bin {PROGRAM}"
    )
    .run()?;
    let folder = Path::new(FOLDER);
    shell.remove_path(folder)?;
    shell.create_dir(folder.join("envoy"))?;
    let stripped = folder.join(PROGRAM);
    // Of its size, and so of the time that it takes to copy it, most is for debuggers.
    cmd!(
        shell,
        "strip --strip-debug -o {stripped} target/debug/{PROGRAM}"
    )
    .quiet()
    .run()?;
    shell.copy_file(wasm::FINISHED, folder)?;
    shell.copy_file(CONFIGURATION, folder.join("envoy"))?;
    let dockerfile = shell.read_file(DOCKERFILE)?;
    let dockerfile = with_built(&dockerfile).context("the Dockerfile has no stage `build`")?;
    shell.write_file(folder.join(DOCKERFILE), dockerfile)?;
    shell.write_file(
        OVERRIDE,
        format!("services:\n{}", in_place_of_the_sources()),
    )?;
    Ok(format!("docker-compose.yml:{OVERRIDE}"))
}

/// The Dockerfile with a stage `build` that takes what is built already.
fn with_built(dockerfile: &str) -> Option<String> {
    let is_build = |stage: &&str| {
        stage
            .lines()
            .next()
            .is_some_and(|from| from.ends_with(" AS build"))
    };
    let stages = || dockerfile.split("\nFROM ");
    let compiled = stages().find(is_build)?;
    let built = format!("{DEBIAN} AS build\nCOPY {PROGRAM} wsbalancer.wasm /built/\n");
    let stages = stages().map(|stage| {
        if stage == compiled {
            built.as_str()
        } else {
            stage
        }
    });
    Some(stages.collect::<Vec<_>>().join("\nFROM "))
}

/// What docker-compose puts over docker-compose.yml.
fn in_place_of_the_sources() -> String {
    let service = |name| format!("  {name}: {{ build: {{ context: {FOLDER} }} }}\n");
    ["pod", "envoy", "client"].map(service).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_build_is_left_out() {
        let dockerfile =
            "# Images.\n\nFROM rust:1 AS build\nRUN x\n\nFROM debian:1 AS pod\nRUN y\n";
        assert_eq!(
            with_built(dockerfile).unwrap(),
            "# Images.\n\nFROM debian:bookworm-slim AS build\n\
             COPY wsbalancer wsbalancer.wasm /built/\n\n\
             FROM debian:1 AS pod\nRUN y\n"
        );
        assert_eq!(with_built("FROM debian:1 AS pod\n"), None);
    }

    /// Where it is another, the one with what was built would take its place unseen.
    #[test]
    fn the_dockerfile_builds_what_is_put_in_its_place() {
        let dockerfile = include_str!("../../../Dockerfile");
        let copied = |built: &str| {
            let from = format!("--from=build /built/{built} ");
            dockerfile.matches(&from).count()
        };
        assert_eq!(copied(PROGRAM), 2);
        assert_eq!(copied("wsbalancer.wasm"), 1);
        assert_eq!(dockerfile.matches("--from=build").count(), 3);
    }

    #[test]
    fn programs_run_on_a_c_library_that_is_no_older() {
        for (version, runs) in [
            ("glibc 2.36", true),
            ("glibc 2.9", true),
            ("glibc 2.37", false),
            ("glibc 3.0", false),
            ("musl 1.2", false),
            ("", false),
        ] {
            assert_eq!(runs_on(version, GLIBC), runs, "{version}");
        }
    }
}
