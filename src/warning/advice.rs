//! The lines to add, as YAML, each with a comment that says where.

use crate::metric::PollFailure;

/// The cluster's policy that obeys the header.
pub(super) fn override_host(header: &str) -> String {
    format!(
        r#"# In the cluster, in place of lb_policy:
load_balancing_policy:
  policies:
  - typed_extension_config:
      name: envoy.load_balancing_policies.override_host
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost
        override_host_sources: [{{ header: {header} }}]
        fallback_policy:
          policies:
          - typed_extension_config:
              name: envoy.load_balancing_policies.least_request
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest"#
    )
}

/// A route that takes its cluster from the header.
pub(super) fn cluster_header(header: &str) -> String {
    format!("# In the route, in place of cluster:\ncluster_header: {header}")
}

/// A service of this cluster.
pub(super) fn service(cluster: &str) -> String {
    // As a JSON string, a name can have no line of its own.
    let name = serde_json::Value::from(cluster);
    format!("# In the filter's configuration:\nservices:\n- cluster: {name}")
}

/// The pods that Envoy lists.
pub(super) fn discovery() -> String {
    "# In the filter's configuration, in place of endpoints:\n\
     discovery: { adminCluster: envoy_admin }"
        .to_owned()
}

/// Retries on the next pod.
pub(super) fn retry_policy(attempts: usize) -> String {
    let retries = attempts.saturating_sub(1).max(1);
    format!(
        "# In the route:\nretry_policy:\n  retry_on: connect-failure,refused-stream\n  \
         num_retries: {retries}"
    )
}

/// Circuit breakers that let more pass.
pub(super) const CIRCUIT_BREAKERS: &str = "# In the cluster:\ncircuit_breakers:\n  thresholds:\n  \
    - max_connections: 100000\n    max_pending_requests: 100000\n    max_requests: 100000\n    \
    max_retries: 100000";

/// Who keeps sessions comes after who balances them.
pub(super) const SESSION_ORDER: &str = "# In http_filters in this order; for Envoy Gateway see \
    filterOrder in docs/frameworks.md:\n- name: wsbalancer\n- name: \
    envoy.filters.http.stateful_session\n- name: envoy.filters.http.router";

/// A second source address has ports of its own.
pub(super) const SOURCE_ADDRESSES: &str = "# In the cluster, with addresses of this machine:\n\
    upstream_bind_config:\n  source_address: { address: 10.0.0.10, port_value: 0 }\n  \
    extra_source_addresses:\n  - address: { address: 10.0.0.11, port_value: 0 }";

/// The same data for all filters.
pub(super) const VM_ID: &str =
    "# In the vm_config of every filter, this one included:\nvm_id: wsbalancer";

/// What to set where no poll brings a count.
pub(super) fn poll(failure: PollFailure) -> Option<String> {
    let lines = match failure {
        PollFailure::Status(404) => "metricPath: /where/the/count/is",
        PollFailure::Status(400 | 421) => "metricHost: chat.example.com",
        PollFailure::Status(406 | 415) | PollFailure::NotJson => {
            "metric: { prometheus: name_of_the_series }"
        }
        PollFailure::BadCount => "metric: { json: /pointer/to/the/count }",
        _ => return None,
    };
    Some(format!("# In the filter's configuration:\n{lines}"))
}
