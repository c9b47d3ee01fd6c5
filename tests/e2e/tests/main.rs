//! The end-to-end tests, as one program: what they have in common is compiled and linked once.

mod balance;
mod browser;
mod capacity;
mod clusters;
mod configuration;
mod discovery;
mod documentation;
mod exporters;
mod failover;
mod fleet;
mod istio;
mod logs;
mod manifests;
mod metric;
mod options;
mod page;
mod polling;
mod prometheus;
mod protocol;
mod rebalance;
mod slow_start;
mod status;
mod trust;
