//! The arguments of `pods`, and the fleet that they ask for.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, ensure};
use clap::Args;
use wsbalancer_backend::{
    FleetConfig, HandshakeBehavior, LoadReport, MetricBehavior, PodConfig, Target, Tls,
};

const EXAMPLE: &str = "\
When all pods are up, one line on stdout says where:
  {\"pods\":[\"127.0.0.1:34001\"],\"control\":\"127.0.0.1:34002\"}

Example:
  Four pods on ports 8000 to 8003. The second refuses connections, the third
  reports 500 WebSockets more than it has, the fourth fails its polls:

    wsbalancer pods --pods 4 --listen 127.0.0.1:8000 --control 127.0.0.1:9000 \\
        --refuse 1 --preload 2=500 --metric 3=status:503

  Then look at them, and let the second accept connections:

    curl 127.0.0.1:9000/pods
    curl 127.0.0.1:9000/pods/1 -d '{\"refuse\": false}'

  A change may have any of these: {\"refuse\": true, \"preload\": 500, \"drop\": true,
  \"metric\": \"hang\", \"handshake\": {\"status\": 503}, \"weight\": 2.5,
  \"maxConnections\": 100, \"draining\": true, \"loadReport\": \"text\"}. With \"drop\" the pod's
  open WebSockets end without a close frame. The last four are told until null unsets them, the load
  report with each 101 and the others at /metric.
  /pods/all changes every pod.";

/// Run WebSocket echo pods, for testing a balancer.
///
/// Each pod echoes WebSockets on any path, tells the true number of its open WebSockets, and
/// answers every other request with a description of it. The number stands at /metric in JSON, at
/// /metrics as Prometheus reads it (`websocket_connections{state="open"}`), and at /stats in a
/// larger JSON document (/server/sockets/open). Pods can be told to fail.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct PodsArguments {
    /// How many pods to run [default: one for each --listen]
    #[arg(long, value_name = "N")]
    pods: Option<usize>,

    /// Where pods listen; port 0 is a free port
    ///
    /// With a fixed port, further pods take the ports after it. Of several addresses the pods
    /// take one after the other, in turn.
    #[arg(long, value_name = "ADDR", value_delimiter = ',', default_values_t = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])]
    listen: Vec<SocketAddr>,

    /// Where the control endpoint listens; without this there is none
    #[arg(long, value_name = "ADDR")]
    control: Option<SocketAddr>,

    /// Path of the count in JSON on each pod
    #[arg(long, value_name = "PATH", default_value = FleetConfig::METRIC_PATH, value_parser = parse_path)]
    metric_path: String,

    /// What the names of pods start with; their number follows
    #[arg(long, value_name = "TEXT", default_value = FleetConfig::NAME_PREFIX, help_heading = "Names")]
    name_prefix: String,

    /// Name of the pod, where there is only one
    #[arg(long, value_name = "NAME", env = "POD_NAME", help_heading = "Names")]
    pod_name: Option<String>,

    /// IP address that the pod tells, where there is only one
    #[arg(long, value_name = "IP", env = "POD_IP", help_heading = "Names")]
    pod_ip: Option<String>,

    /// Name of the node of the pod, where there is only one
    #[arg(long, value_name = "NAME", env = "NODE_NAME", help_heading = "Names")]
    node_name: Option<String>,

    /// PEM file with the pods' certificate: they speak TLS and nothing else
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "TLS")]
    tls_certificate: Option<PathBuf>,

    /// PEM file with the key of the certificate
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_certificate",
        help_heading = "TLS"
    )]
    tls_key: Option<PathBuf>,

    /// PEM file with the authorities whose clients are taken [default: every client is]
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_certificate",
        help_heading = "TLS"
    )]
    tls_client_authorities: Option<PathBuf>,

    /// Pods that refuse connections: 0,3 or all
    #[arg(
        long,
        value_name = "PODS",
        value_delimiter = ',',
        help_heading = "Switches"
    )]
    refuse: Vec<Target>,

    /// WebSockets a pod reports on top of those it has: 0=500
    #[arg(
        long,
        value_name = "POD=COUNT",
        value_delimiter = ',',
        help_heading = "Switches"
    )]
    preload: Vec<Setting<u64>>,

    /// Weights that pods tell: 0=2.5,1=0.5 [default: none]
    #[arg(
        long,
        value_name = "POD=WEIGHT",
        value_delimiter = ',',
        help_heading = "Switches"
    )]
    weight: Vec<Setting<f64>>,

    /// The most WebSockets that pods say they take; they take more: all=100 [default: unsaid]
    #[arg(
        long,
        value_name = "POD=COUNT",
        value_delimiter = ',',
        help_heading = "Switches"
    )]
    max_connections: Vec<Setting<u64>>,

    /// Whether pods say that they want no new WebSockets; they take them: 1=true [default: unsaid]
    #[arg(
        long,
        value_name = "POD=BOOL",
        value_delimiter = ',',
        help_heading = "Switches"
    )]
    draining: Vec<Setting<bool>>,

    /// In which form pods tell their count with each 101: all=text [default: they do not]
    ///
    /// One of text, json, bin, grpc and header:TEXT (that text in the place of a report). The count is
    /// the named metric websockets of an ORCA load report. May be given several times.
    #[arg(long, value_name = "POD=FORM", help_heading = "Switches")]
    load_report: Vec<Setting<LoadReport>>,

    /// What a pod answers to polls: 2=status:500
    ///
    /// One of truth, hang, status:CODE, delay:TIME (2s, 150ms), body:TEXT and huge:BYTES (the
    /// truth and then spaces up to that size). May be given several times.
    #[arg(long, value_name = "POD=ANSWER", help_heading = "Switches")]
    metric: Vec<Setting<MetricBehavior>>,

    /// What a pod does with WebSocket handshakes: all=hang
    ///
    /// One of accept, hang, status:CODE and end:TIME (accepts it, and ends the WebSocket after that
    /// time without a close frame). May be given several times. A handshake on the path
    /// /handshake/ANSWER gets that answer from every pod.
    #[arg(long, value_name = "POD=ANSWER", help_heading = "Switches")]
    handshake: Vec<Setting<HandshakeBehavior>>,
}

/// A value for some of the pods, written `2=value` or `all=value`.
#[derive(Clone, Debug)]
struct Setting<T> {
    target: Target,
    value: T,
}

impl<T: FromStr<Err: Into<anyhow::Error>>> FromStr for Setting<T> {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (target, value) = text
            .split_once('=')
            .context("write the pod's number or all, then = and the value")?;
        Ok(Self {
            target: target.parse()?,
            value: value.parse().map_err(Into::into)?,
        })
    }
}

fn parse_path(text: &str) -> anyhow::Result<String> {
    ensure!(text.starts_with('/'), "a path starts with /");
    Ok(text.to_owned())
}

impl PodsArguments {
    /// The fleet to start. Where two options set the same switch of a pod, the later one counts.
    pub(crate) fn into_config(self) -> anyhow::Result<FleetConfig> {
        let tls = self.tls()?;
        let count = self.pods.unwrap_or(self.listen.len());
        let mut pods = PodConfig::spread(count, &self.listen, &self.name_prefix)?;
        if let [pod] = pods.as_mut_slice() {
            pod.name = self.pod_name.unwrap_or_else(|| pod.name.clone());
            pod.ip = self.pod_ip;
            pod.node = self.node_name.unwrap_or_else(|| pod.node.clone());
        }
        for pod in &mut pods {
            pod.tls.clone_from(&tls);
        }
        for target in self.refuse {
            set(&mut pods, target, |pod| pod.refusing = true).context("--refuse")?;
        }
        for Setting { target, value } in self.preload {
            set(&mut pods, target, |pod| pod.switches.preload = value).context("--preload")?;
        }
        for Setting { target, value } in self.weight {
            set(&mut pods, target, |pod| pod.switches.weight = Some(value)).context("--weight")?;
        }
        for Setting { target, value } in self.max_connections {
            let limit = |pod: &mut PodConfig| pod.switches.max_connections = Some(value);
            set(&mut pods, target, limit).context("--max-connections")?;
        }
        for Setting { target, value } in self.draining {
            set(&mut pods, target, |pod| pod.switches.draining = Some(value))
                .context("--draining")?;
        }
        for Setting { target, value } in self.load_report {
            let report = |pod: &mut PodConfig| pod.switches.load_report = Some(value.clone());
            set(&mut pods, target, report).context("--load-report")?;
        }
        for Setting { target, value } in self.metric {
            set(&mut pods, target, |pod| pod.switches.metric = value.clone())
                .context("--metric")?;
        }
        for Setting { target, value } in self.handshake {
            set(&mut pods, target, |pod| pod.switches.handshake = value).context("--handshake")?;
        }
        Ok(FleetConfig {
            pods,
            metric_path: self.metric_path,
            control: self.control,
        })
    }
}

impl PodsArguments {
    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let (Some(certificates), Some(key)) = (&self.tls_certificate, &self.tls_key) else {
            return Ok(None);
        };
        let authorities = self.tls_client_authorities.as_ref();
        Ok(Some(Tls {
            certificates: read(certificates)?,
            key: read(key)?,
            client_authorities: authorities.map(read).transpose()?,
        }))
    }
}

fn read(file: &PathBuf) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))
}

fn set(
    pods: &mut [PodConfig],
    target: Target,
    change: impl FnMut(&mut PodConfig),
) -> anyhow::Result<()> {
    let places = target.places(pods.len())?;
    pods[places].iter_mut().for_each(change);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        pods: PodsArguments,
    }

    fn config(arguments: &str) -> anyhow::Result<FleetConfig> {
        let words = std::iter::once("pods").chain(arguments.split_whitespace());
        Program::try_parse_from(words)?.pods.into_config()
    }

    #[test]
    fn switches_reach_the_pods_they_name() {
        let config = config(
            "--pods 4 --refuse 0,3 --preload 1=500,2=7 --metric all=hang --metric 2=status:500 \
             --handshake 3=status:503 --handshake 2=end:10ms",
        )
        .unwrap();
        let refusing: Vec<_> = config.pods.iter().map(|pod| pod.refusing).collect();
        assert_eq!(refusing, [true, false, false, true]);
        let preloads: Vec<_> = config.pods.iter().map(|pod| pod.switches.preload).collect();
        assert_eq!(preloads, [0, 500, 7, 0]);
        assert_eq!(config.pods[1].switches.metric, MetricBehavior::Hang);
        assert_eq!(
            config.pods[2].switches.metric,
            "status:500".parse().unwrap()
        );
        assert_eq!(
            config.pods[3].switches.handshake,
            "status:503".parse().unwrap()
        );
    }

    #[test]
    fn what_pods_say_beside_their_count_is_unsaid_unless_set() {
        let config = config(
            "--pods 3 --weight 0=2.5,2=1 --max-connections all=100 --draining 1=true,2=false",
        )
        .unwrap();
        let told: Vec<_> = config
            .pods
            .iter()
            .map(|pod| &pod.switches)
            .map(|switches| (switches.weight, switches.draining))
            .collect();
        assert_eq!(
            told,
            [
                (Some(2.5), None),
                (None, Some(true)),
                (Some(1.0), Some(false))
            ]
        );
        for pod in config.pods {
            assert_eq!(pod.switches.max_connections, Some(100));
        }
    }

    #[test]
    fn names_are_for_a_single_pod() {
        let names = "--pod-name echo-7 --pod-ip 10.0.0.7 --node-name worker-1";
        let single = config(names).unwrap();
        assert_eq!(single.pods[0].name, "echo-7");
        assert_eq!(single.pods[0].ip.as_deref(), Some("10.0.0.7"));
        assert_eq!(single.pods[0].node, "worker-1");
        let pair = config(&format!("--pods 2 --name-prefix echo- {names}")).unwrap();
        assert_eq!(pair.pods[1].name, "echo-1");
        assert_eq!(pair.pods[1].ip, None);
    }

    #[test]
    fn mistakes_are_named() {
        for (arguments, word) in [
            ("--refuse 1", "there is no pod 1"),
            ("--metric hang", "then ="),
            ("--metric 0=lie", "truth, hang, status:CODE"),
            ("--preload 0=-1", "invalid digit"),
            ("--weight 0=heavy", "invalid float"),
            ("--weight 1=2", "--weight: there is no pod 1"),
            ("--draining 0", "then ="),
            (
                "--load-report 0=yaml",
                "text, json, bin, grpc or header:TEXT",
            ),
            ("--pods 0", "0 pods"),
            ("--metric-path metric", "starts with /"),
            ("--tls-key k", "--tls-certificate"),
            (
                "--tls-certificate /none --tls-key /none",
                "can't read /none",
            ),
        ] {
            let error = format!("{:#}", config(arguments).unwrap_err());
            assert!(error.contains(word), "{arguments}: {error}");
        }
    }
}
