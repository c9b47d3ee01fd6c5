//! The image, pushed to a registry, and read there as Istio does.

use std::fs;

use anyhow::{Context, Result, ensure};
use oci_spec::distribution::Reference;
use serde_json::Value;
use xshell::{Shell, cmd};

use super::registry::Registry;
use crate::wasm;

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

/// Pushes the image of the module that was built, and reads it back.
pub(crate) fn try_out(shell: &Shell) -> Result<()> {
    let registry = Registry::start()?;
    let folder = tempfile::tempdir()?;
    let name: Reference = format!("{}/wsbalancer:tried", registry.address).parse()?;
    let image = folder.path().join("image");
    let digest = super::write(&name, &image)?;
    let (from, to) = (
        format!("oci:{}:tried", image.display()),
        format!("docker://{name}"),
    );
    cmd!(shell, "skopeo copy --dest-tls-verify=false {from} {to}").run()?;

    // And as one file, as a release has it.
    let archive = folder.path().join("image.tar");
    fs::write(&archive, super::archive(&name)?.tar(0)?)?;
    let (from, to) = (
        format!("oci-archive:{}:tried", archive.display()),
        format!("docker://{}/wsbalancer:archive", registry.address),
    );
    cmd!(shell, "skopeo copy --dest-tls-verify=false {from} {to}").run()?;

    let manifest = manifest(&registry, "tried")?;
    for name in ["archive", digest.as_ref()] {
        ensure!(
            manifest == self::manifest(&registry, name)?,
            "the registry does not have the image under the name {name}"
        );
    }
    let manifest: Value = serde_json::from_slice(&manifest)?;
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
    let layer = layer["digest"].as_str().context("no digest")?;
    let archive = folder.path().join("layer");
    fs::write(
        &archive,
        registry.get(&format!("wsbalancer/blobs/{layer}"), &[])?,
    )?;
    // Not by the crate that made it.
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

/// The manifest that has a tag or a digest.
fn manifest(registry: &Registry, name: &str) -> Result<Vec<u8>> {
    let media_types = MEDIA_TYPES.map(|(manifest, _layer)| manifest);
    registry.get(&format!("wsbalancer/manifests/{name}"), &media_types)
}
