//! What a pod says of itself: how many WebSockets it has, and how many it should get.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::complaint::Complaint;
use super::count::Count;
use super::failure::PollFailure;

/// What a pod's answer says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodReport {
    /// WebSockets that are open on the pod.
    pub connections: u64,
    /// How many WebSockets it should have for each one of a pod of weight 1.
    pub weight: Option<Weight>,
    /// At so many it gets no new ones.
    pub limit: Option<u64>,
    /// Whether it is about to leave, and gets no new ones.
    pub draining: Option<bool>,
    /// Name of the pod.
    pub pod_name: Option<String>,
    /// Address of the pod as it sees itself.
    pub pod_ip: Option<String>,
    /// Name of the node that the pod runs on.
    pub node_name: Option<String>,
    /// What is wrong with the answer: none of it twice, and none for most pods.
    pub complaints: Vec<Complaint>,
}

/// A pod's part of the WebSockets: a number within [`WEIGHTS`](Self::WEIGHTS).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weight(f64);

impl Weight {
    /// A pod may ask for a hundred times as many as one of weight 1, or for a hundredth: no word of
    /// its own makes it the only one, or keeps it empty.
    pub const WEIGHTS: RangeInclusive<f64> = 0.01..=100.0;

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Weight {
    type Error = &'static str;

    fn try_from(weight: f64) -> Result<Self, Self::Error> {
        if Self::WEIGHTS.contains(&weight) {
            Ok(Self(weight))
        } else {
            Err("is not within 0.01 to 100")
        }
    }
}

impl PodReport {
    /// Reads a body that is a report. A field that can't be is a complaint, unless it is the count.
    ///
    /// # Errors
    /// A body that is not a JSON object, and one without a whole number for the count.
    pub(super) fn from_object(body: &[u8]) -> Result<Self, PollFailure> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let fields = reader.deserialize_map(FieldsVisitor);
        let fields = fields.map_err(|_| PollFailure::NotAnObject)?;
        reader.end().map_err(|_| PollFailure::NotAnObject)?;
        let count = fields.connections.and_then(|raw| value(raw).ok());
        let count = count.and_then(|value| Count::of_json(&value));
        let mut report = Self::counting(count.ok_or(PollFailure::BadCount)?);
        report.weight = report.take(Complaint::Weight, fields.weight, |value| {
            Weight::try_from(value.as_f64()?).ok()
        });
        report.limit = report.take(Complaint::Limit, fields.limit, |value| {
            let limit = Count::of_json(value)?;
            (!limit.is_below_zero).then_some(limit.value)
        });
        report.draining = report.take(Complaint::Draining, fields.draining, Value::as_bool);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        report.pod_name = report.take(Complaint::PodName, fields.pod_name, text);
        report.pod_ip = report.take(Complaint::PodIp, fields.pod_ip, text);
        report.node_name = report.take(Complaint::NodeName, fields.node_name, text);
        Ok(report)
    }

    /// What a field says; nothing where it is missing or null. One that can't be is a complaint.
    fn take<T>(
        &mut self,
        complaint: Complaint,
        field: Option<&RawValue>,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = match field.map(value)? {
            Ok(Value::Null) => return None,
            value => value.ok(),
        };
        let taken = value.as_ref().and_then(read);
        if taken.is_none() {
            self.complaints.push(complaint);
        }
        taken
    }

    /// A report of nothing but a count.
    #[must_use]
    pub fn of(connections: u64) -> Self {
        Self {
            connections,
            ..Self::default()
        }
    }

    /// As [`of`](Self::of), with the complaint that there may be of the count.
    pub(super) fn counting(count: Count) -> Self {
        let below_zero = count.is_below_zero.then_some(Complaint::BelowZero);
        Self {
            complaints: below_zero.into_iter().collect(),
            ..Self::of(count.value)
        }
    }

    /// All complaints, in words; none where there is nothing to complain of.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let complaints: Vec<String> = self.complaints.iter().map(ToString::to_string).collect();
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }
}

fn value(raw: &RawValue) -> serde_json::Result<Value> {
    serde_json::from_str(raw.get())
}

/// The fields that count as they are written: what is wrong with one is known by its name.
#[derive(Default)]
struct Fields<'body> {
    connections: Option<&'body RawValue>,
    weight: Option<&'body RawValue>,
    limit: Option<&'body RawValue>,
    draining: Option<&'body RawValue>,
    pod_name: Option<&'body RawValue>,
    pod_ip: Option<&'body RawValue>,
    node_name: Option<&'body RawValue>,
}

impl<'body> Fields<'body> {
    fn named(&mut self, name: &str) -> Option<&mut Option<&'body RawValue>> {
        Some(match name {
            "agentsConnections" => &mut self.connections,
            "weight" => &mut self.weight,
            "maxConnections" => &mut self.limit,
            "draining" => &mut self.draining,
            "podName" => &mut self.pod_name,
            "podIP" => &mut self.pod_ip,
            "nodeName" => &mut self.node_name,
            _ => return None,
        })
    }
}

/// Of an object, for no array can stand for one; of two fields of a name, the last.
struct FieldsVisitor;

impl<'body> Visitor<'body> for FieldsVisitor {
    type Value = Fields<'body>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'body>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            match fields.named(&name) {
                Some(field) => *field = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields)
    }
}
