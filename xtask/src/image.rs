//! The module as an image, in the form that Istio and Envoy Gateway load.
//!
//! That form is the "compat" variant of the Wasm Image Specification
//! (<https://github.com/solo-io/wasm/blob/master/spec/spec-compat.md>): an image whose last layer
//! has the module as `plugin.wasm`. It is written as a folder, from which any tool pushes it, and
//! no Docker Engine is needed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::distribution::Reference;
use oci_spec::image::Digest;
use xshell::Shell;

use crate::archive::Archive;
use crate::wasm;

mod layer;
mod layout;
mod registry;
mod trial;

pub(crate) use trial::try_out;

/// Where the image is written, unless told otherwise.
pub(crate) const FOLDER: &str = "target/image";

/// Builds the module, and of it the image `name` in `folder`.
pub(crate) fn build(shell: &Shell, name: &Reference, folder: &Path) -> Result<()> {
    let tag = tag(name)?;
    wasm::build(shell)?;
    let digest = write(name, folder)?;
    let (registry, repository) = (name.registry(), name.repository());
    let folder = folder.display();
    println!(
        "{folder}: the image {registry}/{repository}@{digest}\n\
         Each of these pushes it:\n  \
         skopeo copy oci:{folder}:{tag} docker://{name}\n  \
         crane push {folder} {name}\n  \
         oras cp --from-oci-layout {folder}:{tag} {name}"
    );
    Ok(())
}

/// The image of the module that was built, as an archive of the folder.
pub(crate) fn archive(name: &Reference) -> Result<Archive> {
    let parent = tempfile::tempdir()?;
    let folder = parent.path().join("image");
    write(name, &folder)?;
    let files = layout::files(&folder)?.into_iter();
    Ok(files.fold(Archive::default(), |archive, (name, content)| {
        archive.file(name, content)
    }))
}

/// Writes the image of the module that was built; its digest.
fn write(name: &Reference, folder: &Path) -> Result<Digest> {
    let module =
        fs::read(wasm::FINISHED).with_context(|| format!("can't read {}", wasm::FINISHED))?;
    layout::write(folder, tag(name)?, &module)
}

fn tag(name: &Reference) -> Result<&str> {
    // One with a digest may have none.
    name.tag()
        .filter(|_| name.digest().is_none())
        .with_context(|| format!("{name}: a new image is named by a tag, not by a digest"))
}
