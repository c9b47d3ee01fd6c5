//! The module as an image, in the form that Istio and Envoy Gateway load.
//!
//! That form is the "compat" variant of the Wasm Image Specification
//! (<https://github.com/solo-io/wasm/blob/master/spec/spec-compat.md>): an image whose last layer
//! has the module as `plugin.wasm`. Docker makes such an image of two lines.

use std::fs;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Request;
use serde_json::Value;
use wsbalancer_harness::{Child, Http, own_address, wait_until};
use xshell::{Shell, cmd};

use crate::wasm;

const DOCKERFILE: &str = "FROM scratch\nCOPY plugin.wasm ./\n";

/// What a manifest may be, and what its last layer then has to be, for Istio's
/// `pkg/wasm/imagefetcher.go` and the copy of it in Envoy Gateway.
const MEDIA_TYPES: [(&str, &str); 2] = [
    (
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ),
];

/// Builds the image `name`.
pub(crate) fn build(shell: &Shell, name: &str) -> Result<()> {
    wasm::build(shell)?;
    let context = tempfile::tempdir()?;
    fs::write(context.path().join("Dockerfile"), DOCKERFILE)?;
    fs::copy(wasm::FINISHED, context.path().join("plugin.wasm"))?;
    let context = context.path();
    cmd!(shell, "docker build --tag {name} {context}").run()?;
    println!("{name}: to be pushed with `docker push {name}`");
    Ok(())
}

/// Pushes an image to a registry, and reads it there as Istio does.
pub(crate) fn try_out(shell: &Shell) -> Result<()> {
    let registry = Registry::start()?;
    let name = format!("{}/wsbalancer:tried", registry.address);
    build(shell, &name)?;
    cmd!(shell, "docker push {name}").run()?;
    cmd!(shell, "docker image rm --force {name}").run()?;

    let manifest = registry.manifest("wsbalancer", "tried")?;
    let layers = manifest["layers"].as_array();
    let layer = layers
        .and_then(|layers| layers.last())
        .context("no layer")?;
    let types = (&manifest["mediaType"], &layer["mediaType"]);
    ensure!(
        MEDIA_TYPES
            .iter()
            .any(|known| types == (&known.0.into(), &known.1.into())),
        "nobody loads {types:?}"
    );
    let digest = layer["digest"].as_str().context("no digest")?;
    let archive = registry.folder.path().join("layer");
    fs::write(
        &archive,
        registry.get(&format!("wsbalancer/blobs/{digest}"))?,
    )?;
    let module = cmd!(
        shell,
        "tar --extract --gzip --to-stdout --file {archive} plugin.wasm"
    );
    ensure!(
        module.output()?.stdout == fs::read(wasm::FINISHED)?,
        "the image has another module"
    );
    Ok(())
}

/// A registry of this machine's own, gone when dropped.
struct Registry {
    address: String,
    folder: tempfile::TempDir,
    _process: Child,
}

impl Registry {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = own_address();
        let file = folder.path().join("config.yml");
        let configuration = format!(
            "version: 0.1\n\
             storage: {{ filesystem: {{ rootdirectory: '{}' }} }}\n\
             http: {{ addr: '{address}' }}\n",
            folder.path().display()
        );
        fs::write(&file, configuration)?;
        let mut registry = Command::new("docker-registry");
        registry.arg("serve").arg(&file);
        // It tells of every request.
        registry.stdout(Stdio::null()).stderr(Stdio::null());
        let process = Child::start(registry)?;
        wait_until("the registry", Duration::from_secs(60), || {
            TcpStream::connect(address).ok()
        })?;
        Ok(Self {
            address: address.to_string(),
            folder,
            _process: process,
        })
    }

    fn manifest(&self, image: &str, tag: &str) -> Result<Value> {
        Ok(serde_json::from_slice(
            &self.get(&format!("{image}/manifests/{tag}"))?,
        )?)
    }

    fn get(&self, path: &str) -> Result<Vec<u8>> {
        let url = format!("http://{}/v2/{path}", self.address);
        let mut request = Request::get(&url);
        for (manifest, _layer) in MEDIA_TYPES {
            request = request.header("accept", manifest);
        }
        let answer = Http::new().send(request.body(())?)?;
        ensure!(answer.status() == 200, "{url}: {}", answer.status());
        Ok(answer.into_body())
    }
}
