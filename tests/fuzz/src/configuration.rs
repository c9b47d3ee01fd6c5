//! A plugin configuration: JSON, or an encoded `google.protobuf.Struct`.

use std::collections::BTreeSet;

use wsbalancer::config::{Config, ServiceConfig};

/// A configuration that is taken has what the filter counts on. One that is refused says where.
pub(crate) fn run(data: &[u8]) {
    match Config::parse(data) {
        Ok(config) => {
            assert_eq!(
                Config::parse(data).as_ref(),
                Ok(&config),
                "it is read alike"
            );
            let clusters = config.services.iter().map(|service| &service.cluster);
            let clusters: BTreeSet<&String> = clusters.collect();
            assert_eq!(clusters.len(), config.services.len(), "each is there once");
            assert!(config.settings.attempts > 0);
            config.services.iter().for_each(check);
        }
        Err(error) => {
            let error = error.to_string();
            // The name of an option that there is not may have a colon, too.
            let (_field, reason) = error.rsplit_once(": ").expect("it names a field");
            assert!(!reason.is_empty(), "{error}");
        }
    }
}

fn check(service: &ServiceConfig) {
    let rules = &service.rules;
    assert!(!service.cluster.is_empty());
    assert!(service.metric_path.starts_with('/'));
    assert!(!rules.refresh_interval.is_zero() && rules.refresh_interval < rules.cache_ttl);
    assert!(!service.metric_timeout.is_zero() && service.metric_timeout <= rules.refresh_interval);
    assert!(rules.unhealthy_threshold > 0);
    if let Some(slow_start) = &rules.slow_start {
        assert!(slow_start.aggression > 0.0 && !slow_start.window.is_zero());
        assert!((0.0..=100.0).contains(&slow_start.min_weight_percent));
    }
    if let Some(rebalance) = &service.rebalance {
        assert!(rebalance.threshold > 1.0 && rebalance.threshold.is_finite());
        assert!(rebalance.max_per_second > 0.0 && rebalance.max_per_second.is_finite());
    }
    let pods: BTreeSet<_> = service.endpoints().iter().collect();
    assert_eq!(pods.len(), service.endpoints().len());
}
