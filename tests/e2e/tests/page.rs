//! The status page in a browser: what it shows is so, whatever pods call themselves, wherever it is
//! looked at.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wsbalancer_backend::{FleetConfig, Pod};
use wsbalancer_e2e::browser::Browser;
use wsbalancer_e2e::{Stage, assert_all_well, every, preloaded};
use wsbalancer_harness::Sample;

/// The page in a browser that asks for news each second.
async fn look(stage: &Stage) -> Result<Browser> {
    let browser = Browser::start().await?;
    browser.open(&stage.status_url()?).await?;
    browser.click("#refresh option[value='1']").await?;
    updates(&browser, 1).await?;
    Ok(browser)
}

/// Waits until the page has been updated so many times more; how often it has been since it was
/// opened.
async fn updates(browser: &Browser, more: u64) -> Result<u64> {
    const UPDATES: &str = "Number(document.documentElement.dataset.updates ?? 0)";
    let before = browser.evaluate(UPDATES).await?;
    let goal = before.as_u64().context("a number")? + more;
    let now = format!("{UPDATES} >= {goal} && {UPDATES}");
    browser.until(&now).await?.as_u64().context("a number")
}

/// What stands in these cells of all rows that are shown, in their order.
fn cells(fields: &[&str]) -> String {
    format!(
        "[...document.querySelectorAll('tbody tr:not([hidden])')].map((row) =>
            {fields:?}.map((field) => row.querySelector(`[data-field=${{field}}]`).textContent))"
    )
}

/// Waits until the page shows what the pods have counted themselves.
async fn until_true(browser: &Browser, pods: &[Pod]) -> Result<()> {
    let fields = [
        "podName",
        "address",
        "state",
        "agentsConnections",
        "estimate",
        "ownConnections",
    ];
    let truth: Vec<[String; 6]> = pods
        .iter()
        .map(|pod| {
            [
                pod.name().to_owned(),
                pod.address().to_string(),
                "healthy".to_owned(),
                pod.reported().to_string(),
                pod.reported().to_string(),
                pod.open().to_string(),
            ]
        })
        .collect();
    let truth = json!(truth).to_string();
    let rows = cells(&fields);
    let is_true = format!("JSON.stringify({rows}) === {}", json!(truth));
    if let Err(error) = browser.until(&is_true).await {
        let shown = browser.evaluate(&rows).await?;
        return Err(error.context(format!("the page shows {shown}\nnot {truth}")));
    }
    Ok(())
}

async fn summary(browser: &Browser, name: &str) -> Result<Value> {
    let text = format!("document.querySelector('[data-summary={name}]').textContent");
    browser.evaluate(&text).await
}

/// Asserts that nothing went wrong in the browser: no exception, and nothing that the page's
/// content security policy had to stop.
async fn assert_quiet(browser: Browser) -> Result<()> {
    let complaints = browser.complaints().await?;
    assert!(complaints.is_empty(), "{complaints:#?}");
    browser.close().await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_what_the_pods_count_and_keeps_up() -> Result<()> {
    let stage = Stage::start(preloaded(4, &[30, 0]), every(200)).await?;
    stage.until_usable(4)?;
    let browser = look(&stage).await?;
    until_true(&browser, stage.pods()).await?;

    let load = stage.load(600, 200)?;
    let opening = tokio::spawn(async move { load.open().await });
    let mut seen = Vec::new();
    while !opening.is_finished() {
        updates(&browser, 1).await?;
        let connections = summary(&browser, "connections").await?;
        let connections = connections.as_str().context("a text")?.replace(',', "");
        seen.push(connections.parse::<u64>()?);
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(seen.iter().any(|seen| (61..660).contains(seen)), "{seen:?}");
    let held = opening.await?;
    assert_all_well(&held.report());
    until_true(&browser, stage.pods()).await?;
    assert_eq!(summary(&browser, "connections").await?, "660");
    assert_eq!(summary(&browser, "ownConnections").await?, "600");
    assert_eq!(summary(&browser, "evenShare").await?, "165");
    assert_eq!(summary(&browser, "podsUsable").await?, "4");
    assert_eq!(summary(&browser, "podsKnown").await?, "4");
    assert_eq!(summary(&browser, "states").await?, "4\u{a0}healthy");

    held.close().await;
    stage.until_open(0)?;
    until_true(&browser, stage.pods()).await?;
    assert_quiet(browser).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_light_or_dark_as_the_user_likes() -> Result<()> {
    let stage = Stage::start(FleetConfig::local(1), every(200)).await?;
    stage.until_usable(1)?;
    let browser = look(&stage).await?;
    // From black to white, of what is painted.
    let brightness = "getComputedStyle(document.body).backgroundColor
        .match(/[0-9.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 765";
    let is_light = async || -> Result<bool> {
        let brightness = browser.evaluate(brightness).await?;
        let brightness = brightness.as_f64().context("a number")?;
        assert!(!(0.2..=0.8).contains(&brightness), "{brightness}");
        Ok(brightness > 0.5)
    };
    for (preferred, other) in [("light", "Dark"), ("dark", "Light"), ("light", "Dark")] {
        browser.prefer(preferred).await?;
        let button = format!("document.querySelector('#theme').textContent === '{other}'");
        browser.until(&button).await?;
        assert_eq!(is_light().await?, preferred == "light");
    }
    // What the user chooses here counts more than what the system says.
    browser.click("#theme").await?;
    assert!(!is_light().await?);
    browser.prefer("dark").await?;
    assert!(!is_light().await?);
    browser.click("#theme").await?;
    assert!(is_light().await?);
    assert_quiet(browser).await
}

/// Names that would do something if they were taken for markup, and one that is as long as no
/// other.
fn hostile() -> [String; 5] {
    [
        "<script>window.hacked = 1</script>".to_owned(),
        "\"><img src=x onerror=\"window.hacked = 1\">".to_owned(),
        "</td></tr></table><h1>x</h1><svg onload=window.hacked=1>".to_owned(),
        "\u{202e}sdrawkcab\u{2066}{{7*7}}${7*7}\0\u{1b}[2J\r\n".to_owned(),
        "x".repeat(10_000),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_text_and_nothing_makes_it_wider_than_a_phone() -> Result<()> {
    let mut fleet = FleetConfig::local(5);
    for (pod, name) in fleet.pods.iter_mut().zip(hostile()) {
        pod.ip = Some(name.clone());
        pod.node.clone_from(&name);
        pod.name = name;
    }
    let stage = Stage::start(fleet, every(200)).await?;
    stage.until_usable(5)?;
    let browser = look(&stage).await?;
    let mut shown = hostile();
    // Longer names are cut.
    shown[4] = format!("{}…", "x".repeat(255));
    let rows = cells(&["podName", "podIP", "nodeName"]);
    let mut shown: Vec<[&String; 3]> = shown.iter().map(|name| [name; 3]).collect();
    shown.sort_unstable();
    let found = format!(
        "JSON.stringify({rows}.sort()) === JSON.stringify({}.sort())",
        json!(shown)
    );
    browser.until(&found).await?;
    let elements = "document.querySelectorAll(
        'img, svg, iframe, object, embed, h1 ~ h1, table table, tbody script').length";
    assert_eq!(browser.evaluate(elements).await?, 0);
    assert_eq!(browser.evaluate("document.scripts.length").await?, 1);
    assert_eq!(browser.evaluate("typeof window.hacked").await?, "undefined");

    for width in [360, 768, 1280] {
        browser.resize(width, 800).await?;
        updates(&browser, 2).await?;
        assert_eq!(browser.evaluate("innerWidth").await?, width);
        let excess = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.evaluate(excess).await?, 0, "at {width} pixels");
    }
    assert_quiet(browser).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_pods_can_be_searched_and_sorted() -> Result<()> {
    const PODS: u64 = 1_000;
    // No two counts are the same, and their order is not that of the names.
    let counts: Vec<u64> = (0..PODS).map(|index| 1 + index * 387 % PODS).collect();
    let fleet = preloaded(counts.len(), &counts);
    let stage = Stage::start(fleet, |sample: Sample| sample).await?;
    stage.until_usable(counts.len())?;
    let browser = look(&stage).await?;
    let all = "document.querySelectorAll('tbody tr:not([hidden])').length === 1000";
    browser.until(all).await?;

    browser
        .click("[data-sort=agentsConnections] button")
        .await?;
    let first = cells(&["podName", "agentsConnections"]) + ".slice(0, 3)";
    let expected: Vec<[String; 2]> = (0..3)
        .map(|place| PODS - place)
        .filter_map(|count| {
            let index = counts.iter().position(|other| *other == count)?;
            Some([format!("pod-{index}"), grouped(count)])
        })
        .collect();
    assert_eq!(browser.evaluate(&first).await?, json!(expected));

    browser.enter("#search", "pod-99").await?;
    browser.click("[data-sort=podName] button").await?;
    let names = cells(&["podName"]) + ".flat()";
    let ten: Vec<String> = [99]
        .into_iter()
        .chain(990..1_000)
        .map(|n| format!("pod-{n}"))
        .collect();
    assert_eq!(browser.evaluate(&names).await?, json!(ten));
    // The search goes on while counts change.
    let held = stage.load(50, 0)?.open().await;
    assert_all_well(&held.report());
    updates(&browser, 2).await?;
    assert_eq!(browser.evaluate(&names).await?, json!(ten));
    browser.enter("#search", "").await?;
    browser.until(all).await?;

    let mut fastest = f64::INFINITY;
    for _ in 0..3 {
        updates(&browser, 1).await?;
        let script = browser
            .evaluate("Number(document.documentElement.dataset.script)")
            .await?;
        fastest = fastest.min(script.as_f64().context("a number")?);
    }
    println!("an update of {PODS} pods took {fastest} ms in the browser");
    assert!(
        fastest < 500.0,
        "nobody can use a page that is stuck: {fastest} ms"
    );
    assert_quiet(browser).await
}

/// As the page writes numbers.
fn grouped(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    }
}
