//! The images that the Dockerfile and docker-compose.yml take from others: from the engine if it has
//! them, else from their registry, else as stand-ins made of Debian's packages, the Rust toolchain and
//! the Prometheus of this machine, and the Envoy of `cargo xtask envoy`.
//!
//! A stand-in has what the Dockerfile may rely on, and is labelled as such. It trusts the
//! certificate authorities that this machine trusts, so that it gets its crates as this machine
//! does.

use std::path::Path;

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use crate::envoy;
use crate::probe::succeeds;

use super::MadeOf;

pub(super) const DOCKERFILE: &str = "Dockerfile";
const COMPOSE: &str = "docker-compose.yml";
const STAND_IN: &str = "LABEL wsbalancer.stand-in=true";
const FOLDER: &str = "target/images";
/// The image that all stand-ins are made of.
pub(super) const DEBIAN: &str = "debian:bookworm-slim";
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Makes sure that the engine has every image that the trial needs.
pub(crate) fn provide(shell: &Shell, made_of: MadeOf) -> Result<()> {
    for image in needed(shell, made_of)? {
        let image = &image;
        if has(shell, image) || succeeds(cmd!(shell, "docker pull --quiet {image}")) {
            continue;
        }
        println!("{image} can't be pulled: making a stand-in");
        stand_in(shell, image).with_context(|| format!("no stand-in for {image}"))?;
    }
    Ok(())
}

/// Whether the engine has all of them already.
pub(crate) fn has_all(shell: &Shell) -> bool {
    let needed = needed(shell, MadeOf::quickest(shell));
    needed.is_ok_and(|images| images.iter().all(|image| has(shell, image)))
}

/// The images that are to be there, Debian's first: the stand-ins for others are made of it.
fn needed(shell: &Shell, made_of: MadeOf) -> Result<Vec<String>> {
    let dockerfile = shell.read_file(DOCKERFILE)?;
    let compose = shell.read_file(COMPOSE)?;
    let prometheus = prometheus(&compose).context("docker-compose.yml has no Prometheus")?;
    let mut images = bases(&dockerfile);
    images.push(prometheus);
    // What compiles is not needed where nothing is compiled.
    let is_of_use = |image: &&str| made_of == MadeOf::Sources || !image.starts_with("rust:");
    Ok(images
        .into_iter()
        .filter(is_of_use)
        .map(str::to_owned)
        .collect())
}

/// The image of Prometheus that docker-compose.yml names. Grafana's is not needed: there is nothing here
/// to make a stand-in of.
fn prometheus(compose: &str) -> Option<&str> {
    let mut images = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: "));
    images.find(|image| image.starts_with("prom/"))
}

fn has(shell: &Shell, image: &str) -> bool {
    succeeds(cmd!(shell, "docker image inspect {image}"))
}

/// The images that a Dockerfile begins with, its own stages not among them.
fn bases(dockerfile: &str) -> Vec<&str> {
    let mut bases: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("FROM "))
        .filter_map(|from| from.split_whitespace().next())
        .collect();
    bases.sort_unstable();
    bases.dedup();
    bases
}

fn stand_in(shell: &Shell, image: &str) -> Result<()> {
    let (name, _) = image.split_once(':').context("an image has a tag")?;
    let folder = Path::new(FOLDER).join(name);
    shell.remove_path(&folder)?;
    shell.create_dir(&folder)?;
    match name {
        "debian" => bootstrap(shell, image, &folder)?,
        "envoyproxy/envoy" => {
            shell.copy_file(envoy::binary(), &folder)?;
            build(shell, image, &folder, ENVOY)?;
        }
        "prom/prometheus" => {
            let program = cmd!(shell, "which prometheus").read()?;
            shell.copy_file(program, &folder)?;
            build(shell, image, &folder, PROMETHEUS)?;
        }
        "rust" => {
            let toolchain = cmd!(shell, "rustc --print sysroot").read()?;
            cmd!(
                shell,
                "cp --recursive --dereference {toolchain}/bin {toolchain}/lib {folder}"
            )
            .quiet()
            .run()?;
            shell.copy_file(CERTIFICATES, &folder)?;
            build(shell, image, &folder, RUST)?;
        }
        _ => bail!("nobody knows what it is made of"),
    }
    shell.remove_path(&folder)?;
    Ok(())
}

const ENVOY: &str = r#"
COPY envoy /usr/local/bin/
ENTRYPOINT ["envoy"]
"#;

/// With the paths and the user of the image that it stands for.
const PROMETHEUS: &str = r#"
COPY prometheus /bin/
RUN mkdir -p /prometheus /etc/prometheus && chown 65534:65534 /prometheus
USER 65534:65534
VOLUME /prometheus
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
"#;

const RUST: &str = "
RUN apt-get update \\
    && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev
COPY ca-certificates.crt /etc/ssl/certs/
COPY bin /usr/local/bin
COPY lib /usr/local/lib
";

/// Makes an image of a minimal Debian.
fn bootstrap(shell: &Shell, image: &str, folder: &Path) -> Result<()> {
    let root = folder.join("root");
    let archive = folder.join("root.tar");
    cmd!(shell, "debootstrap --variant=minbase bookworm {root}")
        .quiet()
        .ignore_stdout()
        .run()?;
    cmd!(shell, "tar --create --file {archive} --directory {root} .")
        .quiet()
        .run()?;
    cmd!(shell, "docker import --change {STAND_IN} {archive} {image}")
        .quiet()
        .ignore_stdout()
        .run()?;
    Ok(())
}

/// Builds an image on Debian's from the files in `folder`.
fn build(shell: &Shell, image: &str, folder: &Path, steps: &str) -> Result<()> {
    let dockerfile = format!("FROM {DEBIAN}\n{STAND_IN}\n{steps}");
    shell.write_file(folder.join("Dockerfile"), dockerfile)?;
    cmd!(shell, "docker build --quiet --tag {image} {folder}")
        .quiet()
        .ignore_stdout()
        .run()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_named_once_each() {
        let dockerfile = "FROM b:1 AS build\nRUN x\nFROM a:2\nFROM b:1 AS other\n";
        assert_eq!(bases(dockerfile), ["a:2", "b:1"]);
    }

    #[test]
    fn prometheus_is_found_among_the_services() {
        let compose = "services:\n  a:\n    image: a:1\n  b:\n    image: prom/prometheus:v1\n";
        assert_eq!(prometheus(compose), Some("prom/prometheus:v1"));
        assert_eq!(prometheus("services:\n  a:\n    image: a:1\n"), None);
    }
}
