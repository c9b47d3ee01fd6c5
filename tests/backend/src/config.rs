//! What a fleet starts with.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::str::FromStr;

use anyhow::{Context, bail, ensure};

use crate::service::Switches;
use crate::tls::Tls;

/// A fleet before it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetConfig {
    /// The pods, in order.
    pub pods: Vec<PodConfig>,
    /// Path of the count on each pod.
    pub metric_path: String,
    /// Where the control endpoint listens, if there is to be one.
    pub control: Option<SocketAddr>,
}

/// A pod before it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct PodConfig {
    /// Where it listens; port 0 is a free one.
    pub listen: SocketAddr,
    /// Its name.
    pub name: String,
    /// The IP address that it tells, where that is not the one it listens on.
    pub ip: Option<String>,
    /// Name of the node it says to be on.
    pub node: String,
    /// Whether it starts out refusing connections.
    pub refusing: bool,
    /// How it answers.
    pub switches: Switches,
    /// Its certificate, where it speaks TLS and nothing else.
    pub tls: Option<Tls>,
}

/// One pod of a fleet by its place from 0, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every pod.
    All,
    /// The pod at this place.
    Pod(usize),
}

impl FleetConfig {
    /// Path of the count, unless another is given.
    pub const METRIC_PATH: &'static str = "/metric";
    /// Path of the count in the text format of Prometheus.
    pub const EXPOSITION_PATH: &'static str = "/metrics";
    /// Path of the JSON document that has the count at `/server/sockets/open`.
    pub const STATS_PATH: &'static str = "/stats";
    /// What the names of pods start with, unless another prefix is given.
    pub const NAME_PREFIX: &'static str = "pod-";

    /// A fleet of `count` sound pods on free ports of 127.0.0.1, without a control endpoint.
    #[must_use]
    pub fn local(count: usize) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let pods = (0..count)
            .map(|index| PodConfig::sound(listen, format!("{}{index}", Self::NAME_PREFIX)))
            .collect();
        Self {
            pods,
            metric_path: Self::METRIC_PATH.to_owned(),
            control: None,
        }
    }
}

impl PodConfig {
    /// A pod with nothing wrong.
    #[must_use]
    pub fn sound(listen: SocketAddr, name: String) -> Self {
        Self {
            listen,
            name,
            ip: None,
            node: "node".to_owned(),
            refusing: false,
            switches: Switches::default(),
            tls: None,
        }
    }

    /// `count` pods with nothing wrong, spread over the addresses in turn.
    ///
    /// The pods of an address with a fixed port take that port and the ones after it.
    ///
    /// # Errors
    ///
    /// Fails where an address is left without a pod, and where ports run out.
    pub fn spread(count: usize, listen: &[SocketAddr], prefix: &str) -> anyhow::Result<Vec<Self>> {
        ensure!(
            (1..=count).contains(&listen.len()),
            "{count} pods can't be spread over {} addresses: give each address at least one pod",
            listen.len()
        );
        (0..count)
            .zip(listen.iter().cycle())
            .map(|(index, first)| {
                let address = following(*first, index / listen.len())
                    .with_context(|| format!("pod {index} has no port: {first} is too high"))?;
                Ok(Self::sound(address, format!("{prefix}{index}")))
            })
            .collect()
    }

    /// The IP address that the pod tells when it is reached at `bound`.
    pub(crate) fn told_ip(&self, bound: IpAddr) -> String {
        self.ip.clone().unwrap_or_else(|| bound.to_string())
    }
}

/// The address `step` ports after `first`; a free port stays a free port.
fn following(first: SocketAddr, step: usize) -> Option<SocketAddr> {
    let port = match first.port() {
        0 => 0,
        port => port.checked_add(u16::try_from(step).ok()?)?,
    };
    Some(SocketAddr::new(first.ip(), port))
}

impl Target {
    /// The places of the targeted pods among `count`.
    ///
    /// # Errors
    ///
    /// Fails where there is no such pod.
    pub fn places(self, count: usize) -> anyhow::Result<Range<usize>> {
        match self {
            Self::All => Ok(0..count),
            Self::Pod(index) if index < count => Ok(index..index + 1),
            Self::Pod(index) => bail!("there is no pod {index}: there are {count}, from 0"),
        }
    }
}

impl FromStr for Target {
    type Err = anyhow::Error;

    /// Reads `all` or a number.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "all" => Ok(Self::All),
            _ => text
                .parse()
                .map(Self::Pod)
                .with_context(|| format!("{text:?} is not a pod: write its number or all")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_take_consecutive_ports_of_the_addresses_in_turn() {
        let listen = [
            "127.0.0.1:8000".parse().unwrap(),
            "[::1]:0".parse().unwrap(),
        ];
        let pods = PodConfig::spread(5, &listen, "echo-").unwrap();
        let told: Vec<_> = pods
            .iter()
            .map(|pod| format!("{} {}", pod.name, pod.listen))
            .collect();
        assert_eq!(
            told,
            [
                "echo-0 127.0.0.1:8000",
                "echo-1 [::1]:0",
                "echo-2 127.0.0.1:8001",
                "echo-3 [::1]:0",
                "echo-4 127.0.0.1:8002",
            ]
        );
    }

    #[test]
    fn pods_that_can_not_be_spread_are_refused() {
        let last: SocketAddr = "127.0.0.1:65535".parse().unwrap();
        assert!(PodConfig::spread(1, &[last], "").is_ok());
        assert!(PodConfig::spread(2, &[last], "").is_err());
        assert!(PodConfig::spread(1, &[last, last], "").is_err());
        assert!(PodConfig::spread(0, &[], "").is_err());
    }

    #[test]
    fn a_target_is_one_pod_or_all() {
        assert_eq!("all".parse::<Target>().unwrap().places(3).unwrap(), 0..3);
        assert_eq!("2".parse::<Target>().unwrap().places(3).unwrap(), 2..3);
        assert!("3".parse::<Target>().unwrap().places(3).is_err());
        assert!("-1".parse::<Target>().is_err());
    }
}
