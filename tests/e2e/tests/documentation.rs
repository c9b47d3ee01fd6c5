//! What the README says is so: its snippets make an Envoy balance, and the filter's statistics
//! and log lines are those it lists.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use tokio::task::block_in_place;
use wsbalancer_backend::Fleet;
use wsbalancer_e2e::{PATIENCE, ROOT, Stage, addresses, assert_all_well, preloaded};
use wsbalancer_harness::{Envoy, Sample};

const README: &str = include_str!("../../../README.md");

/// The README's YAML block that begins with the comment `# {title}:`, by `indent` spaces.
fn snippet(title: &str, indent: usize) -> Result<String> {
    let (_, rest) = README
        .split_once(&format!("```yaml\n# {title}:\n"))
        .with_context(|| format!("no snippet `{title}`"))?;
    let (yaml, _) = rest.split_once("```").context("a block without an end")?;
    let margin = " ".repeat(indent);
    let lines: Vec<String> = yaml.lines().map(|line| format!("{margin}{line}")).collect();
    Ok(lines.join("\n"))
}

/// A plain Envoy with nothing for WebSockets in it but what the README says.
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
async fn documented_stage(preload: &[u64], change: fn(Sample) -> Sample) -> Result<Stage> {
    let fleet = Fleet::start(preloaded(preload.len(), preload)).await?;
    let sample = change(documented()?.pods(&addresses(&fleet)));
    let envoy = block_in_place(|| Envoy::start(&sample))?;
    let stage = Stage { fleet, envoy };
    stage.until_usable(preload.len())?;
    Ok(stage)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snippets_make_an_envoy_balance() -> Result<()> {
    let stage = documented_stage(&[100, 0, 100], |sample| sample).await?;
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
    let listed: BTreeSet<String> = README
        .lines()
        .filter(|line| line.contains("` | counter |") || line.contains("` | gauge |"))
        .filter_map(|line| line.split('`').nth(1))
        .map(|name| format!("wasmcustom.wsbalancer.chat.{name}"))
        .collect();
    let stage = documented_stage(&[0], |sample| sample).await?;
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
    let stage = documented_stage(&[500, 0], |sample| sample.option("cacheTTL", "3s")).await?;
    let [up, refusing] = stage.pods() else {
        unreachable!("there are two pods");
    };
    refusing.refuse().await;
    let shown: Vec<String> = README
        .lines()
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
fn the_links_lead_somewhere() {
    let anchors: BTreeSet<String> = README
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|heading| heading.trim_start_matches('#').trim())
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    let links: Vec<&str> = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect();
    assert!(!links.is_empty());
    for link in links {
        match link.strip_prefix('#') {
            Some(anchor) => assert!(anchors.contains(anchor), "no heading for {link}"),
            None => assert!(Path::new(ROOT).join(link).exists(), "no file {link}"),
        }
    }
}
