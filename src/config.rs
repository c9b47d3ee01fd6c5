//! The plugin configuration, parsed into a [`Config`] that needs no further checks.
//!
//! Whatever is wrong with it ends as one [`ConfigError`] that names the field.

mod check;
mod defaults;
mod document;
mod error;
mod fields;
mod headers;
mod names;
mod nearest;
mod numbers;
mod parse;
mod reader;
mod rules;
#[cfg(feature = "schema")]
mod schema;
mod service;
mod settings;
#[cfg(feature = "schema")]
mod value_schemas;
mod values;

pub use error::ConfigError;
pub use headers::PollHeaders;
pub use rules::{BurstPolls, PassiveHealth, Rebalance, Rules, SlowStart};
#[cfg(feature = "schema")]
pub use schema::schema;
pub use service::{Discovery, MetricCluster, PodSource, ServiceConfig};
pub use settings::{Config, OnNoPods, RouteBy, Settings, StatusConfig};
