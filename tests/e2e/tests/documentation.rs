//! What the documentation says is so: its snippets make an Envoy balance; the statistics, series,
//! fields, alerts and log lines are those that it lists; and its links lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use http::header::{AUTHORIZATION, ORIGIN};
use http::{HeaderValue, Request};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use wsbalancer_backend::Fleet;
use wsbalancer_e2e::ask::{ask, get, get_json};
use wsbalancer_e2e::{
    PATIENCE, ROOT, Stage, addresses, assert_all_well, istio, markdown, preloaded, seldom,
};
use wsbalancer_harness::{Envoy, Sample};

/// The YAML block that begins with the comment `# {title}:`, by `indent` spaces.
fn snippet(title: &str, indent: usize) -> Result<String> {
    let margin = " ".repeat(indent);
    let yaml = markdown::snippet(title)?;
    let lines: Vec<String> = yaml.lines().map(|line| format!("{margin}{line}")).collect();
    Ok(lines.join("\n"))
}

/// A plain Envoy with nothing for WebSockets in it but what the documentation says.
fn documented() -> Result<Sample> {
    let configuration = format!(
        r#"
static_resources:
  listeners:
  - name: existing
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: existing
          route_config:
            virtual_hosts:
            - name: existing
              domains: ["*"]
              routes:
              - match: {{ prefix: / }}
{route}
{connection_manager}
  clusters:
  - type: STATIC
    load_assignment: {{ cluster_name: chat, endpoints: [] }}
{cluster}
{admin_cluster}
admin:
  address: {{ socket_address: {{ address: 127.0.0.1, port_value: 9901 }} }}
"#,
        route = snippet("In the route of the WebSockets", 16)?,
        connection_manager = snippet("In the HTTP connection manager", 10)?,
        cluster = snippet("In the cluster", 4)?,
        admin_cluster = snippet("Among the clusters", 2)?,
    );
    Ok(Sample::parse(&configuration)?.ready_to_run())
}

/// That Envoy, before pods that report `preload`.
async fn documented_stage(
    preload: &[u64],
    change: impl FnOnce(Sample) -> Result<Sample>,
) -> Result<Stage> {
    let fleet = Fleet::start(preloaded(preload.len(), preload)).await?;
    let sample = change(documented()?.pods(&addresses(&fleet)))?;
    let envoy = block_in_place(|| Envoy::start(&sample))?;
    let stage = Stage { fleet, envoy };
    stage.until_usable(preload.len())?;
    Ok(stage)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snippets_make_an_envoy_balance() -> Result<()> {
    let stage = documented_stage(&[100, 0, 100], Ok).await?;
    let held = stage.load(50, 0)?.open().await;
    assert_all_well(&held.report());
    assert_eq!(stage.counts(), [100, 50, 100]);

    // Their retries spare the clients a pod that is gone, though its count is the smallest.
    stage.pods()[1].refuse().await;
    let more = stage.load(10, 0)?.open().await;
    assert_all_well(&more.report());
    Ok(())
}

#[test]
fn every_snippet_is_yaml() -> Result<()> {
    let blocks = markdown::blocks("yaml")?;
    assert!(!blocks.is_empty());
    for yaml in blocks {
        let _value: Value = serde_saphyr::from_str(&yaml).with_context(|| yaml.clone())?;
    }
    Ok(())
}

/// What stands in the picture of the simulation stands in the text beside it, in the same words, so that
/// a reader finds the one in the other.
#[test]
fn the_words_of_the_picture_are_those_of_the_text() -> Result<()> {
    let folder = Path::new(ROOT).join("docs");
    let words = |text: &str| -> String {
        let words = text.split_whitespace().map(str::to_lowercase);
        words.collect::<Vec<_>>().join(" ").replace('*', "")
    };
    let text = words(&fs::read_to_string(folder.join("balancing.md"))?);
    let picture = fs::read_to_string(folder.join("fleet.svg"))?;
    let labels = picture.split("<text").skip(1).map(|rest| {
        let label = rest
            .split_once('>')
            .and_then(|(_, rest)| rest.split_once('<'));
        words(label.unwrap_or_default().0)
    });
    let labels: BTreeSet<String> = labels
        .filter(|label| {
            !label
                .trim_end_matches(" %")
                .parse::<f64>()
                .is_ok_and(f64::is_finite)
        })
        .collect();
    assert!(
        labels.contains("wsbalancer") && labels.len() > 10,
        "{labels:?}"
    );
    let strange = labels.iter().filter(|label| !text.contains(label.as_str()));
    assert_eq!(strange.collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(picture.contains("@media (prefers-color-scheme: dark)"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_shows_the_chosen_pod() -> Result<()> {
    let stage = documented_stage(&[100, 0], |mut sample| {
        let access_log = snippet("In the HTTP connection manager, for the access log", 0)?;
        let access_log: Value = serde_saphyr::from_str(&access_log)?;
        sample.connection_manager()["access_log"] = access_log["access_log"].clone();
        Ok(sample)
    })
    .await?;
    drop(stage.load(1, 0)?.open().await);
    let [other, chosen] = [0, 1].map(|n: usize| stage.pods()[n].address());
    let line = format!(
        " chosen=\"{chosen} (estimate 0, runner-up {other} with 100)\" served={chosen} attempts=1 "
    );
    block_in_place(|| stage.envoy.wait_for_log(&line, PATIENCE))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_another_origin_are_refused() -> Result<()> {
    let stage = documented_stage(&[0], |mut sample| {
        let options = snippet("In the filter's configuration, for browsers", 0)?;
        let options: Value = serde_saphyr::from_str(&options)?;
        sample.plugin_configuration()["services"] = options["services"].clone();
        Ok(sample)
    })
    .await?;
    for (origin, opened) in [
        (None, 1),
        (Some("https://chat.example.com"), 1),
        (Some("HTTPS://Chat.Example.com:443"), 1),
        (Some("https://a.b.example.com"), 1),
        (Some("https://example.com"), 0),
        (Some("http://chat.example.com"), 0),
        (Some("https://evil.example"), 0),
        (Some("https://chat.example.com.evil.example"), 0),
        (Some("null"), 0),
    ] {
        assert_eq!(opened_by(&stage, origin).await?, opened, "{origin:?}");
    }
    assert_eq!(stage.stat("upgrades_forbidden")?, 5);
    stage.until_stat("upgrades_balanced", |balanced| balanced == 4)?;
    let line = "cluster chat: refused a WebSocket of the origin \"https://example.com\"";
    block_in_place(|| stage.envoy.wait_for_log(line, PATIENCE))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_can_ask_for_a_password() -> Result<()> {
    let check = snippet("Among the HTTP filters of the status, before wsbalancer", 0)?;
    let check: Vec<Value> = serde_saphyr::from_str(&check)?;
    let stage = Stage::start(preloaded(1, &[0]), |sample| {
        sample.edit(|configuration| {
            let listener = &mut configuration["static_resources"]["listeners"][1];
            let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
            let filters = manager["http_filters"].as_array_mut();
            filters.expect("HTTP filters").splice(..0, check);
        })
    })
    .await?;
    // "operator:secret" and "operator:wrong".
    for (credentials, status) in [
        (None, 401),
        (Some("Basic b3BlcmF0b3I6d3Jvbmc="), 401),
        (Some("Basic b3BlcmF0b3I6c2VjcmV0"), 200),
    ] {
        let request = Request::get(stage.status_url()?);
        let request = credentials
            .into_iter()
            .fold(request, |request, credentials| {
                request.header(AUTHORIZATION, credentials)
            });
        let answer = ask(request.body(())?)?;
        assert_eq!(answer.status(), status, "{credentials:?}");
    }
    Ok(())
}

/// How many of one WebSocket a page of this origin can open.
async fn opened_by(stage: &Stage, origin: Option<&'static str>) -> Result<u64> {
    let mut load = stage.load(1, 0)?;
    let origin = origin.map(HeaderValue::from_static);
    load.headers.extend(origin.map(|origin| (ORIGIN, origin)));
    Ok(load.open().await.report().connections.opened)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cors_filter_lets_pages_of_another_origin_pass() -> Result<()> {
    const TYPES: &str = "type.googleapis.com/envoy.extensions.filters.http.cors.v3";
    let stage = documented_stage(&[0], |mut sample| {
        let cors = json!({
            "name": "envoy.filters.http.cors",
            "typed_config": { "@type": format!("{TYPES}.Cors") },
        });
        let policy = json!({
            "@type": format!("{TYPES}.CorsPolicy"),
            "allow_origin_string_match": [{ "exact": "https://chat.example.com" }],
        });
        let manager = sample.connection_manager();
        let hosts = &mut manager["route_config"]["virtual_hosts"];
        hosts[0]["typed_per_filter_config"] = json!({ "envoy.filters.http.cors": policy });
        let filters = manager["http_filters"].as_array_mut();
        filters.context("HTTP filters")?.insert(0, cors);
        Ok(sample)
    })
    .await?;
    assert_eq!(
        opened_by(&stage, Some("https://evil.example.com")).await?,
        1
    );
    Ok(())
}

/// The first two cells of the rows of all tables whose first cell is code, and does or does not
/// name a series.
fn listed(series: bool) -> Result<BTreeMap<String, String>> {
    let lines = markdown::lines()?;
    Ok(lines
        .iter()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split_once("` | "))
        .filter_map(|(name, rest)| Some((name, rest.split_once(" | ")?.0)))
        .filter(|(name, kind)| {
            ["counter", "gauge"].contains(kind) && name.starts_with("wsbalancer_") == series
        })
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statistics_are_those_that_are_listed() -> Result<()> {
    let listed: BTreeSet<String> = listed(false)?
        .keys()
        .map(|name| format!("wasmcustom.wsbalancer.chat.{name}"))
        .collect();
    let stage = documented_stage(&[0], Ok).await?;
    let stats = block_in_place(|| stage.envoy.admin_get("/stats?filter=wasmcustom.wsbalancer"))?;
    let shown: BTreeSet<String> = stats
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(shown, listed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_series_and_the_states_are_those_that_are_listed() -> Result<()> {
    let stage = Stage::start(preloaded(1, &[0]), seldom).await?;
    stage.until_usable(1)?;
    let text = get(&(stage.status_url()? + "?format=prometheus"))?;
    let shown: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    assert_eq!(shown, listed(true)?);

    let shown: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("wsbalancer_pods{")?
                .split_once("state=\"")
        })
        .filter_map(|(_, state)| Some(state.split_once('"')?.0))
        .collect();
    let states = table("State", &markdown::lines()?);
    let listed: BTreeSet<&str> = states.iter().map(String::as_str).collect();
    assert_eq!(shown, listed);
    Ok(())
}

/// The code in the first cells of the table whose first column has this heading.
fn table(heading: &str, lines: &[String]) -> BTreeSet<String> {
    lines
        .iter()
        .skip_while(|line| !line.starts_with(&format!("| {heading} |")))
        .skip(2)
        .map_while(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fields_of_the_status_are_those_that_are_listed() -> Result<()> {
    let stage = Stage::start(preloaded(1, &[0]), seldom).await?;
    stage.until_usable(1)?;
    let status = get_json(&(stage.status_url()? + "?format=json"))?;
    let lines = markdown::lines()?;
    for (heading, shown) in [
        ("At the top", &status),
        ("In a service", &status["services"][0]),
        ("In a pod", &status["podMetrics"]["chat"][0]),
    ] {
        let fields = shown.as_object().with_context(|| heading.to_owned())?;
        let fields: BTreeSet<String> = fields.keys().cloned().collect();
        assert_eq!(fields, table(heading, &lines), "{heading}");
    }
    Ok(())
}

#[test]
fn the_alerts_are_those_that_are_listed() -> Result<()> {
    let alerts = istio::documents("envoy/prometheus/alerts.yaml")?;
    let rules = alerts
        .iter()
        .flat_map(|document| document["groups"].as_array().into_iter().flatten())
        .flat_map(|group| group["rules"].as_array().into_iter().flatten());
    let names: BTreeSet<String> = rules
        .filter_map(|rule| rule["alert"].as_str())
        .map(str::to_owned)
        .collect();
    assert_eq!(names, table("Alert", &markdown::lines()?));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_lines_are_written_as_shown() -> Result<()> {
    let stage = documented_stage(&[500, 0], |sample| Ok(sample.option("cacheTTL", "3s"))).await?;
    let [up, refusing] = stage.pods() else {
        unreachable!("there are two pods");
    };
    refusing.refuse().await;
    let shown: Vec<String> = markdown::lines()?
        .iter()
        .filter(|line| line.starts_with("cluster chat: "))
        .map(|line| line.replace("10.0.0.1:8080", &up.address().to_string()))
        .map(|line| line.replace("10.0.0.2:8080", &refusing.address().to_string()))
        .collect();
    assert_eq!(shown.len(), 3);
    for line in shown {
        block_in_place(|| stage.envoy.wait_for_log(&line, PATIENCE))?;
    }
    Ok(())
}

#[test]
fn the_links_lead_somewhere() -> Result<()> {
    let root = Path::new(ROOT).canonicalize()?;
    let pages = markdown::pages()?;
    let anchors: BTreeMap<PathBuf, Vec<String>> = pages
        .iter()
        .map(|page| (root.join(&page.file), page.anchors()))
        .collect();
    for page in &pages {
        let file = page.file.display();
        let page_itself = root.join(&page.file);
        let links = page.links();
        assert!(!links.is_empty(), "{file}");
        // What others have on the web is not looked for.
        for link in links.iter().filter(|link| !link.starts_with("https://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => page_itself.clone(),
                path => page_itself
                    .with_file_name(path)
                    .canonicalize()
                    .with_context(|| format!("{file}: no file {link}"))?,
            };
            assert!(
                target.starts_with(&root),
                "{file}: {link} leads out of the project"
            );
            let has_heading = || {
                let anchors = anchors.get(&target);
                anchors.is_some_and(|anchors| anchors.iter().any(|known| known == anchor))
            };
            assert!(
                anchor.is_empty() || has_heading(),
                "{file}: no heading for {link}"
            );
        }
    }
    Ok(())
}

/// Nobody finds a page that no other one names.
#[test]
fn every_page_is_linked_from_the_first() -> Result<()> {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md"))?;
    for page in markdown::pages()? {
        let file = page.file.display();
        let is_linked = readme.contains(&format!("]({file})"));
        assert!(is_linked || page.file == Path::new("README.md"), "{file}");
    }
    Ok(())
}
