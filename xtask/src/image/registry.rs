//! A registry of this machine's own.

use std::fs;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use http::Request;
use wsbalancer_harness::{Child, Http, own_address, wait_until};

/// It is gone when dropped.
pub(crate) struct Registry {
    pub(crate) address: String,
    _folder: tempfile::TempDir,
    _process: Child,
}

impl Registry {
    pub(crate) fn start() -> Result<Self> {
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
            _folder: folder,
            _process: process,
        })
    }

    /// What it has at `path`, as one of the media types if it has several.
    pub(crate) fn get(&self, path: &str, media_types: &[&str]) -> Result<Vec<u8>> {
        let url = format!("http://{}/v2/{path}", self.address);
        let mut request = Request::get(&url);
        for media_type in media_types {
            request = request.header("accept", *media_type);
        }
        let answer = Http::new().send(request.body(())?)?;
        ensure!(answer.status() == 200, "{url}: {}", answer.status());
        Ok(answer.into_body())
    }
}
