//! The end-to-end tests, as one program: what they have in common is compiled and linked once.

mod autoscaling;
mod bad_night;
mod balance;
mod browser;
mod bursts;
mod capacity;
mod clusters;
mod compose;
mod configuration;
mod crossings;
// Helm comes as a wheel for this processor alone.
#[cfg(target_arch = "x86_64")]
mod deploy;
mod discovery;
mod doctor;
mod documentation;
mod envoy_gateway;
mod exporters;
mod failover;
mod fleet;
mod istio;
mod istio_ambient;
mod istio_patching;
mod istio_wasmplugin;
mod load_reports;
mod logs;
mod manifests;
mod metric;
mod options;
mod page;
mod passive_health;
mod polling;
mod portions;
mod prometheus;
mod protocol;
mod rebalance;
mod sessions;
mod slow_start;
mod statistics;
mod status;
mod trust;
mod warnings;
mod workers;
mod yaml;

/// A file that is not named above would be no test, and nobody would notice.
#[test]
fn no_file_is_forgotten() -> anyhow::Result<()> {
    let named = include_str!("main.rs");
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let module = name.trim_end_matches(".rs");
        let is_named = named.contains(&format!("\nmod {module};\n"));
        assert!(is_named || module == "main", "{name}");
    }
    Ok(())
}
