//! What a pod says of itself: how many WebSockets it has, and how many it should get.

use serde::Deserialize;

use super::failure::PollFailure;

/// A pod's answer; fields not named here are ignored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodReport {
    /// WebSockets that are open on the pod.
    #[serde(rename = "agentsConnections")]
    pub connections: u64,
    /// How many WebSockets it should have for each one of a pod of weight 1.
    pub weight: Option<Weight>,
    /// At so many it gets no new ones.
    #[serde(rename = "maxConnections")]
    pub limit: Option<u64>,
    /// Whether it is about to leave, and gets no new ones.
    pub draining: Option<bool>,
    /// Name of the pod.
    pub pod_name: Option<String>,
    /// Address of the pod as it sees itself.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    /// Name of the node that the pod runs on.
    pub node_name: Option<String>,
}

/// A pod's part of the WebSockets: a finite number greater than 0.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Weight(f64);

impl Weight {
    /// The number itself.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Weight {
    type Error = &'static str;

    fn try_from(weight: f64) -> Result<Self, Self::Error> {
        if weight.is_normal() && weight > 0.0 {
            Ok(Self(weight))
        } else {
            Err("is not greater than 0")
        }
    }
}

impl PodReport {
    /// Reads a body that is a report.
    ///
    /// # Errors
    /// A body that is not a JSON object, one without a non-negative integer for the count, and one
    /// with a field that can't be.
    pub(super) fn from_object(body: &[u8]) -> Result<Self, PollFailure> {
        // Serde would take an array for a struct, field by field.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(PollFailure::NotAnObject);
        }
        let reader = &mut serde_json::Deserializer::from_slice(body);
        let report = serde_path_to_error::deserialize(&mut *reader).map_err(|error| {
            if !error.inner().is_data() {
                return PollFailure::NotAnObject;
            }
            match error.path().to_string().as_str() {
                "weight" => PollFailure::BadWeight,
                "maxConnections" => PollFailure::BadLimit,
                "draining" => PollFailure::BadDraining,
                "podName" | "podIP" | "nodeName" => PollFailure::BadName,
                _ => PollFailure::BadCount,
            }
        })?;
        reader.end().map_err(|_| PollFailure::NotAnObject)?;
        Ok(report)
    }

    /// A report of nothing but a count.
    #[must_use]
    pub fn of(connections: u64) -> Self {
        Self {
            connections,
            ..Self::default()
        }
    }
}
