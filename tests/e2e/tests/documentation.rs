//! What the documentation says is so: its snippets make an Envoy balance; the statistics and log
//! lines are those that it lists; and its links lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::task::block_in_place;
use wsbalancer_backend::Fleet;
use wsbalancer_e2e::{PATIENCE, ROOT, Stage, addresses, assert_all_well, markdown, preloaded};
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

#[tokio::test(flavor = "multi_thread")]
async fn the_statistics_are_those_that_are_listed() -> Result<()> {
    let listed: BTreeSet<String> = markdown::lines()?
        .iter()
        .filter(|line| line.contains("` | counter |") || line.contains("` | gauge |"))
        .filter_map(|line| line.split('`').nth(1))
        .filter(|name| !name.starts_with("wsbalancer_"))
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
