//! What a `DestinationRule` does to the cluster of its host, and to the priorities of its endpoints.

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::resources::{Kind, Resources, name_of};

/// The zone of the gateway that was recorded.
const OWN_ZONE: &str = "z1";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    host: String,
    #[serde(rename = "trafficPolicy", default)]
    policy: Policy,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Policy {
    #[serde(default)]
    connection_pool: ConnectionPool,
    #[serde(default)]
    load_balancer: LoadBalancer,
    outlier_detection: Option<OutlierDetection>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionPool {
    #[serde(default)]
    tcp: Tcp,
    #[serde(default)]
    http: Http,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Tcp {
    max_connections: Option<u32>,
    connect_timeout: Option<String>,
    #[serde(rename = "tcpKeepalive")]
    keepalive: Option<Keepalive>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keepalive {
    time: String,
    interval: String,
    probes: u32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Http {
    http1_max_pending_requests: Option<u32>,
    http2_max_requests: Option<u32>,
    max_retries: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LoadBalancer {
    #[serde(default)]
    locality_lb_setting: LocalitySetting,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalitySetting {
    enabled: bool,
}

impl Default for LocalitySetting {
    fn default() -> Self {
        Self { enabled: true }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OutlierDetection {
    consecutive_gateway_errors: u32,
    #[serde(rename = "consecutive5xxErrors")]
    consecutive_5xx_errors: u32,
    interval: String,
    base_ejection_time: String,
    max_ejection_percent: u32,
}

pub(super) fn apply(manifest: &Value, resources: &mut Resources) -> Result<()> {
    let Spec { host, policy } = serde_json::from_value(manifest["spec"].clone())?;
    let is_hosts = |name: &str| {
        let mut parts = name.split('|');
        parts.next() == Some("outbound") && parts.nth(2) == Some(host.as_str())
    };
    let mut changed = 0;
    for cluster in resources.all(Kind::Clusters) {
        if is_hosts(name_of(cluster)) {
            policy.change_cluster(cluster);
            changed += 1;
        }
    }
    ensure!(changed > 0, "no cluster is {host}'s");
    for assignment in resources.all(Kind::Endpoints) {
        if is_hosts(name_of(assignment)) {
            policy.change_endpoints(assignment);
        }
    }
    Ok(())
}

impl Policy {
    fn change_cluster(&self, cluster: &mut Value) {
        let ConnectionPool { tcp, http } = &self.connection_pool;
        let limits = [
            ("max_connections", tcp.max_connections),
            ("max_pending_requests", http.http1_max_pending_requests),
            ("max_requests", http.http2_max_requests),
            ("max_retries", http.max_retries),
        ];
        for (name, limit) in limits {
            if let Some(limit) = limit {
                cluster["circuit_breakers"]["thresholds"][0][name] = limit.into();
            }
        }
        if let Some(timeout) = &tcp.connect_timeout {
            cluster["connect_timeout"] = timeout.as_str().into();
        }
        if let Some(keepalive) = &tcp.keepalive {
            cluster["upstream_connection_options"]["tcp_keepalive"] = json!({
                "keepalive_probes": keepalive.probes,
                "keepalive_time": seconds(&keepalive.time),
                "keepalive_interval": seconds(&keepalive.interval),
            });
        }
        if let Some(detection) = &self.outlier_detection {
            cluster["outlier_detection"] = detection.of_envoy();
        }
        let enabled = self.load_balancer.locality_lb_setting.enabled;
        let common = cluster["common_lb_config"].as_object_mut();
        if let Some(common) = common.filter(|_| !enabled) {
            common.remove("locality_weighted_lb_config");
        }
    }

    /// Zones get priorities where Istio may prefer near ones and knows of failures.
    fn change_endpoints(&self, assignment: &mut Value) {
        let enabled = self.load_balancer.locality_lb_setting.enabled;
        let fails_over = self.outlier_detection.is_some();
        let zones = assignment["endpoints"].as_array_mut();
        for zone in zones.into_iter().flatten() {
            let elsewhere = zone["locality"]["zone"] != OWN_ZONE;
            if enabled && fails_over && elsewhere {
                zone["priority"] = 1.into();
            } else if let Some(fields) = zone.as_object_mut().filter(|_| !enabled) {
                fields.remove("priority");
            }
        }
    }
}

impl OutlierDetection {
    fn of_envoy(&self) -> Value {
        let enforcing = |errors| if errors > 0 { 100 } else { 0 };
        json!({
            "consecutive_5xx": self.consecutive_5xx_errors,
            "enforcing_consecutive_5xx": enforcing(self.consecutive_5xx_errors),
            "consecutive_gateway_failure": self.consecutive_gateway_errors,
            "enforcing_consecutive_gateway_failure": enforcing(self.consecutive_gateway_errors),
            "enforcing_success_rate": 0,
            "interval": self.interval,
            "base_ejection_time": self.base_ejection_time,
            "max_ejection_percent": self.max_ejection_percent,
        })
    }
}

/// A duration of whole seconds as a number of them.
fn seconds(duration: &str) -> Value {
    let number = duration.trim_end_matches('s').parse::<u32>();
    number.map_or(Value::Null, Value::from)
}
