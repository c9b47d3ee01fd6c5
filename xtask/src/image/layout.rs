//! The image as a folder, from which tools push it: an OCI image layout
//! (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>).
//!
//! It depends on the module and the tag alone, and its digest on the module alone.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use oci_spec::image::{
    ANNOTATION_REF_NAME, Arch, Descriptor, Digest, ImageConfigurationBuilder, ImageIndexBuilder,
    ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, RootFsBuilder, SCHEMA_VERSION,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::layer;
use crate::archive::gzip;

/// The file that every layout has, and nothing else.
const MARK: &str = "oci-layout";
const LAYOUT_VERSION: &str = "1.0.0";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs";

/// What the specification of Wasm images asks of this variant.
const VARIANT: (&str, &str) = ("module.wasm.image/variant", "compat");

/// Writes the image of a module, with a tag, and replaces the layout that is there; its digest.
pub(crate) fn write(folder: &Path, tag: &str, module: &[u8]) -> Result<Digest> {
    remove(folder)?;
    fs::create_dir_all(folder)?;
    let layout = OciLayoutBuilder::default()
        .image_layout_version(LAYOUT_VERSION)
        .build()?;
    fs::write(folder.join(MARK), json(&layout)?)?;

    let archive = layer::archive(module)?;
    let compressed = gzip(&archive)?;
    let layer = store(folder, MediaType::ImageLayerGzip, &compressed)?;
    let root = RootFsBuilder::default()
        .typ("layers")
        .diff_ids([digest(&archive)?.to_string()])
        .build()?;
    // Who loads the module does not ask for them. But an image that passes through a container
    // engine has to be for a system that the engine runs.
    let configuration = ImageConfigurationBuilder::default()
        .architecture(Arch::Amd64)
        .os(Os::Linux)
        .rootfs(root)
        .build()?;
    let configuration = store(folder, MediaType::ImageConfig, &json(&configuration)?)?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(configuration)
        .layers([layer])
        .annotations(annotation(VARIANT))
        .build()?;
    let mut manifest = store(folder, MediaType::ImageManifest, &json(&manifest)?)?;
    manifest.set_annotations(Some(annotation((ANNOTATION_REF_NAME, tag))));
    let digest = manifest.digest().clone();
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests([manifest])
        .build()?;
    fs::write(folder.join(INDEX), json(&index)?)?;
    Ok(digest)
}

/// All files of a layout, by their names in it.
pub(crate) fn files(layout: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![layout.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(layout)?.display().to_string();
                files.insert(name, fs::read(path)?);
            }
        }
    }
    Ok(files)
}

/// Removes the layout of an earlier build, but nothing that is not one.
fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        let is_layout = folder.join(MARK).exists();
        ensure!(is_layout, "{} is not an image's folder", folder.display());
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

/// Stores what others name by its digest.
fn store(folder: &Path, media_type: MediaType, content: &[u8]) -> Result<Descriptor> {
    let digest = digest(content)?;
    let folder = folder.join(BLOBS).join(digest.algorithm().as_ref());
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(digest.digest()), content)?;
    Ok(Descriptor::new(
        media_type,
        content.len().try_into()?,
        digest,
    ))
}

fn digest(content: &[u8]) -> Result<Digest> {
    Ok(format!("sha256:{:x}", Sha256::digest(content)).parse()?)
}

/// An annotation by itself: the types would write several in no certain order.
fn annotation((name, value): (&str, &str)) -> HashMap<String, String> {
    HashMap::from([(name.to_owned(), value.to_owned())])
}

fn json(content: &impl Serialize) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(content)?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::PathBuf;

    use flate2::read::GzDecoder;
    use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};
    use tempfile::TempDir;

    use super::*;

    struct Layout {
        folder: TempDir,
        digest: Digest,
    }

    impl Layout {
        fn of(tag: &str, module: &[u8]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let digest = write(&folder.path().join("image"), tag, module).unwrap();
            Self { folder, digest }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("image")
        }

        fn files(&self) -> BTreeMap<String, Vec<u8>> {
            files(&self.path()).unwrap()
        }

        /// What a descriptor tells of, which has to be as it says.
        fn blob(&self, descriptor: &Descriptor) -> Vec<u8> {
            let hash = descriptor.as_digest_sha256().unwrap();
            let blob = fs::read(self.path().join("blobs/sha256").join(hash)).unwrap();
            assert_eq!(digest(&blob).unwrap(), *descriptor.digest());
            assert_eq!(blob.len() as u64, descriptor.size());
            blob
        }
    }

    #[test]
    fn the_same_module_makes_the_same_image() {
        let module = b"module".repeat(100_000);
        let (one, two) = (Layout::of("1", &module), Layout::of("1", &module));
        assert_eq!(one.digest, two.digest);
        assert_eq!(one.files(), two.files());
        // The tag is no part of the image, and the module is.
        assert_eq!(one.digest, Layout::of("2", &module).digest);
        assert_ne!(one.digest, Layout::of("1", b"another").digest);
    }

    #[test]
    fn all_that_is_named_is_there() {
        let layout = Layout::of("0.1.0", b"module");
        let index = ImageIndex::from_file(layout.path().join("index.json")).unwrap();
        let [manifest] = index.manifests().as_slice() else {
            panic!("{index:?}");
        };
        assert_eq!(*manifest.digest(), layout.digest);
        let annotations = manifest.annotations().as_ref().unwrap();
        assert_eq!(annotations["org.opencontainers.image.ref.name"], "0.1.0");

        let manifest = layout.blob(manifest);
        let manifest = ImageManifest::from_reader(manifest.as_slice()).unwrap();
        let [layer] = manifest.layers().as_slice() else {
            panic!("{manifest:?}");
        };
        assert_eq!(*layer.media_type(), MediaType::ImageLayerGzip);
        let mut archive = Vec::new();
        GzDecoder::new(layout.blob(layer).as_slice())
            .read_to_end(&mut archive)
            .unwrap();
        assert_eq!(archive, layer::archive(b"module").unwrap());

        let configuration = layout.blob(manifest.config());
        let configuration = ImageConfiguration::from_reader(configuration.as_slice()).unwrap();
        let archive = digest(&archive).unwrap().to_string();
        assert_eq!(*configuration.rootfs().diff_ids(), [archive]);
        // The two descriptions of the layout, and three blobs.
        assert_eq!(layout.files().len(), 5);
    }

    #[test]
    fn an_image_is_replaced_and_nothing_else() {
        let layout = Layout::of("1", b"module");
        write(&layout.path(), "1", b"another").unwrap();
        assert_eq!(layout.files(), Layout::of("1", b"another").files());

        let file = layout.folder.path().join("file");
        fs::write(&file, "content").unwrap();
        write(layout.folder.path(), "1", b"module").unwrap_err();
        assert_eq!(fs::read(&file).unwrap(), b"content");
    }
}
