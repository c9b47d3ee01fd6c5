//! A browser to look with: headless Chromium, driven from outside.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use fantoccini::error::CmdError;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use http::Method;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::task::block_in_place;
use url::{ParseError, Url};
use wsbalancer_harness::Child;

use crate::PATIENCE;

/// Chromium as chromedriver starts it, which would leave it behind were it killed itself.
const CHROMIUM: &str = "#!/bin/sh\nexec setpriv --pdeathsig KILL chromium \"$@\"\n";

/// Chromium with one window; gone when dropped.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    _driver: Child,
    // Removed last: they write there.
    _folder: TempDir,
}

impl Browser {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no Chromium, or nothing to drive it with.
    pub async fn start() -> anyhow::Result<Self> {
        // With port 0, chromedriver takes any port of IPv6 and ends where that of IPv4 is taken. A
        // socket that is bound and never listens keeps one for it.
        let reservation = TcpSocket::new_v4()?;
        reservation.set_reuseaddr(true)?;
        reservation.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = reservation.local_addr()?;
        let folder = TempDir::new()?;
        let chromium = folder.path().join("chromium");
        fs::write(&chromium, CHROMIUM)?;
        fs::set_permissions(&chromium, Permissions::from_mode(0o755))?;
        let mut command = Command::new("chromedriver");
        command
            .env("TMPDIR", folder.path())
            .arg(format!("--port={}", address.port()))
            .stdout(Stdio::piped());
        let mut driver = Child::start(command).context("`cargo xtask setup` installs it")?;
        let output = driver.take_output().context("its output is piped")?;
        let mut lines = BufReader::new(output).lines();
        block_in_place(|| {
            lines
                .by_ref()
                .map_while(Result::ok)
                .find(|line| line.contains("started successfully"))
        })
        .context("chromedriver has ended")?;
        let capabilities = json!({
            "acceptInsecureCerts": true,
            "timeouts": { "script": u64::try_from(PATIENCE.as_millis())? },
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": {
                "binary": chromium,
                // Without a sandbox, for the tests may run as root.
                "args": ["--headless=new", "--no-sandbox"],
            },
        });
        let Value::Object(capabilities) = capabilities else {
            unreachable!("it was written as an object");
        };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://{address}"))
            .await?;
        Ok(Self {
            client,
            _driver: driver,
            _folder: folder,
        })
    }

    /// Opens a page.
    ///
    /// # Errors
    /// When it can't be loaded.
    pub async fn open(&self, url: &str) -> anyhow::Result<()> {
        Ok(self.client.goto(url).await?)
    }

    /// Runs a script in the page, whose last argument is a function that takes the answer.
    ///
    /// # Errors
    /// When it throws, or does not answer.
    pub async fn call(&self, script: &str, arguments: Vec<Value>) -> anyhow::Result<Value> {
        Ok(self.client.execute_async(script, arguments).await?)
    }

    /// The value of a JavaScript expression in the page.
    ///
    /// # Errors
    /// When it throws.
    pub async fn evaluate(&self, expression: &str) -> anyhow::Result<Value> {
        let script = format!("return ({expression});");
        Ok(self.client.execute(&script, Vec::new()).await?)
    }

    /// Waits in the page until a JavaScript expression has a value other than false, none and 0,
    /// which is returned.
    ///
    /// # Errors
    /// When it throws, or has none in time.
    pub async fn until(&self, expression: &str) -> anyhow::Result<Value> {
        let script = format!(
            "const done = arguments[0];
             const ask = () => {{
                 const value = ({expression});
                 if (value) done(value); else setTimeout(ask, 20);
             }};
             ask();"
        );
        let answer = self.call(&script, Vec::new()).await;
        answer.with_context(|| format!("the page has no {expression}"))
    }

    /// Clicks on the first element that a CSS selector finds.
    ///
    /// # Errors
    /// When there is none, or it can't be clicked on.
    pub async fn click(&self, selector: &str) -> anyhow::Result<()> {
        let element = self
            .client
            .find(fantoccini::Locator::Css(selector))
            .await
            .with_context(|| format!("nothing to click on: {selector}"))?;
        Ok(element.click().await?)
    }

    /// Has the text of an input field replaced, as by somebody who types.
    ///
    /// # Errors
    /// When there is no such field.
    pub async fn enter(&self, selector: &str, text: &str) -> anyhow::Result<()> {
        let field = self.client.find(fantoccini::Locator::Css(selector)).await?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    /// Gives the page a window of this size, in pixels of CSS, however small.
    ///
    /// # Errors
    /// When the browser can't.
    pub async fn resize(&self, width: u32, height: u32) -> anyhow::Result<()> {
        let metrics = json!({
            "width": width,
            "height": height,
            "deviceScaleFactor": 1,
            "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await
            .map(drop)
    }

    /// Has the user prefer `light` or `dark` pages.
    ///
    /// # Errors
    /// When the browser can't.
    pub async fn prefer(&self, scheme: &str) -> anyhow::Result<()> {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        let media = json!({ "features": [feature] });
        self.devtools("Emulation.setEmulatedMedia", media)
            .await
            .map(drop)
    }

    /// What the window shows, as a PNG.
    ///
    /// # Errors
    /// When the browser can't.
    pub async fn picture(&self) -> anyhow::Result<Vec<u8>> {
        Ok(self.client.screenshot().await?)
    }

    /// What the console has of warnings and errors since it was last asked for: exceptions that
    /// nobody caught, and what a content security policy forbade.
    ///
    /// # Errors
    /// When the browser does not tell.
    pub async fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let log = json!({ "type": "browser" });
        let Value::Array(entries) = self.command("se/log", log).await? else {
            bail!("the console is no list");
        };
        let complaints = entries.iter().filter(|entry| {
            let level = entry["level"].as_str();
            level.is_none_or(|level| ["WARNING", "SEVERE"].contains(&level))
        });
        Ok(complaints.map(Value::to_string).collect())
    }

    /// Closes the window, and with it the connections of its page.
    ///
    /// # Errors
    /// When it does not close.
    pub async fn close(self) -> anyhow::Result<()> {
        Ok(self.client.clone().close().await?)
    }

    /// A command of the `DevTools` protocol.
    async fn devtools(&self, command: &str, parameters: Value) -> anyhow::Result<Value> {
        let body = json!({ "cmd": command, "params": parameters });
        Ok(self.command("goog/cdp/execute", body).await?)
    }

    async fn command(&self, path: &'static str, body: Value) -> Result<Value, CmdError> {
        self.client.issue_cmd(Extension { path, body }).await
    }
}

/// A command of chromedriver's own.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/{}", self.path))
    }

    fn method_and_body(&self, _url: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}
