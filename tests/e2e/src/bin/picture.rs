//! Takes the pictures of the status page that the documentation shows: skewed pods, and new
//! WebSockets that make them even, on a screen and on a phone.
//!
//! They go to the folder that the only argument names.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use wsbalancer_backend::FleetConfig;
use wsbalancer_client::Load;
use wsbalancer_e2e::browser::Browser;
use wsbalancer_e2e::{Stage, assert_all_well, every};

/// So many of the pods have WebSockets before Envoy starts …
const BUSY_PODS: usize = 4;
/// … each this many.
const HEAD_START: u32 = 250;
const THROUGH_ENVOY: u32 = 2_000;
const RATE: u32 = 80;
/// The pod at this place takes no more than so many …
const LIMITED: (usize, u64) = (6, 300);
/// … and this one drains after a while.
const DRAINING: usize = 3;

/// Size of the window on a screen, in pixels, …
const SCREEN: (u32, u32) = (1280, 900);
/// … and on a phone, where the picture is of what is seen first.
const PHONE: (u32, u32) = (390, 844);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = env::args_os().nth(1).context("the folder is missing")?;
    let folder = PathBuf::from(folder);
    fs::create_dir_all(&folder)?;

    let stage = Stage::start(fleet(), every(1_000)).await?;
    stage.until_usable(stage.pods().len())?;
    let mut before = Vec::new();
    for pod in stage.pods().iter().take(BUSY_PODS) {
        let held = Load {
            connections: HEAD_START,
            ..Load::new(format!("ws://{}/", pod.address()).parse()?)
        };
        before.push(held.open().await);
    }

    let browser = Browser::start().await?;
    browser.resize(SCREEN.0, SCREEN.1).await?;
    browser.open(&stage.status_url()?).await?;
    browser.click("#refresh option[value='1']").await?;
    until_updated(&browser, 8).await?;
    let load = stage.load(THROUGH_ENVOY, RATE)?;
    let opening = tokio::spawn(async move { load.open().await });
    until_updated(&browser, 16).await?;
    stage.pods()[DRAINING].drain(Some(true));
    let held = opening.await?;
    assert_all_well(&held.report());
    until_updated(&browser, 8).await?;

    // Nothing has the focus.
    browser.evaluate("document.activeElement.blur()").await?;
    // On a screen all of the page.
    let height = browser
        .evaluate("document.documentElement.scrollHeight")
        .await?;
    let height = height.as_u64().context("a height")?;
    let screen = (SCREEN.0, height.try_into()?);
    for (name, (width, height)) in [("dashboard", screen), ("phone", PHONE)] {
        browser.resize(width, height).await?;
        for theme in ["light", "dark"] {
            browser.prefer(theme).await?;
            // The charts follow once their widths are known.
            until_updated(&browser, 2).await?;
            let file = folder.join(format!("{name}-{theme}.png"));
            let picture = browser.picture().await?;
            println!("{}: {} kB", file.display(), picture.len() / 1_000);
            fs::write(file, picture)?;
        }
    }
    browser.close().await
}

/// Pods with names as Kubernetes gives them.
fn fleet() -> FleetConfig {
    const SUFFIXES: [&str; 8] = [
        "2wq8x", "4kcvt", "7hd5n", "9zl6j", "b5r2m", "fj8sw", "nx4tq", "qv7gd",
    ];
    let mut fleet = FleetConfig::local(SUFFIXES.len());
    for (index, (pod, suffix)) in fleet.pods.iter_mut().zip(SUFFIXES).enumerate() {
        pod.name = format!("chat-7d4b9c-{suffix}");
        pod.ip = Some(format!("10.0.{}.{}", index % 3, 10 + index));
        pod.node = format!("node-{}", 1 + index % 3);
    }
    let (place, limit) = LIMITED;
    fleet.pods[place].switches.max_connections = Some(limit);
    fleet
}

/// Waits until the page has been updated so many times more.
async fn until_updated(browser: &Browser, more: u32) -> anyhow::Result<()> {
    let updates = "Number(document.documentElement.dataset.updates ?? 0)";
    let goal = browser.evaluate(&format!("{updates} + {more}")).await?;
    browser.until(&format!("{updates} >= {goal}")).await?;
    Ok(())
}
