//! The arguments of `load`, parsed into the library's types: what clap accepts needs no further
//! check.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use wsbalancer_client::{DEFAULT_METRIC_PATH, Load, MessageKind, PodAddress, Pods, Target};

const ABOUT: &str = "Open WebSockets through a gateway and show how they spread over the pods";

const NOTES: &str = "\
Each connection sends messages that the server must echo, and stays open until all are open. \
The pods, if given, are asked directly how many WebSockets they count, before and while all \
are open. Ctrl-C closes the connections and still reports.

Examples:
  20,000 WebSockets, 1,000 per second, and what three pods count:
    wsbalancer load ws://gateway:8080/agents -n 20000 --rate 1000 \\
        --pods 10.0.0.1:8080,10.0.0.2:8080,10.0.0.3:8080

  The same as a check: fail if a pod has more than 2 % above the mean
    … --max-imbalance 1.02 --json | jq .imbalance

Exit code:
  0 if all went well; 1 if a handshake, a message or a pod failed, a connection
  closed early, or the pods are less even than allowed; 2 for bad usage.";

/// What the user asks for with `load`.
#[derive(Debug, Args)]
// The one text of --help and -h: a long one would spread every option over several lines.
#[command(about = ABOUT, long_about = None, after_help = NOTES)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, and they go together in any combination"
)]
pub(crate) struct LoadArguments {
    /// Where to connect: ws://HOST:PORT/PATH, or wss:// for TLS
    #[arg(value_name = "URL")]
    target: Target,

    /// WebSockets to open
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value_t = 100,
        help_heading = "Connections"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,

    /// Connections to open per second; 0 for as fast as possible
    #[arg(
        long,
        value_name = "R",
        default_value_t = 500,
        help_heading = "Connections"
    )]
    rate: u32,

    /// Handshakes under way at the same time, at most
    #[arg(
        long,
        value_name = "N",
        default_value_t = 512,
        help_heading = "Connections"
    )]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    max_pending: usize,

    /// How long to keep all connections open after the last one opened
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "0s",
        help_heading = "Connections"
    )]
    #[arg(value_parser = humantime::parse_duration)]
    pub(crate) hold: Duration,

    /// Report once all are open, then hold them until Ctrl-C or SIGTERM
    #[arg(long, conflicts_with = "hold", help_heading = "Connections")]
    pub(crate) keep: bool,

    /// How long one handshake, or the answer of one pod, may take
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10s",
        help_heading = "Handshake"
    )]
    #[arg(value_parser = humantime::parse_duration)]
    connect_timeout: Duration,

    /// Subprotocol to offer; repeat it to offer several, best first
    #[arg(long, value_name = "NAME", help_heading = "Handshake", value_parser = parse_token)]
    subprotocol: Vec<String>,

    /// Header to add to the upgrade, as in 'Authorization: Bearer …'; repeatable
    #[arg(long, value_name = "NAME: VALUE", help_heading = "Handshake", value_parser = parse_header)]
    header: Vec<(HeaderName, HeaderValue)>,

    /// Accept any certificate of a wss:// server
    #[arg(long, help_heading = "Handshake")]
    insecure: bool,

    /// Messages per connection that the server must echo
    #[arg(long, value_name = "M", default_value_t = 1, help_heading = "Messages")]
    messages: u32,

    /// Bytes per message, at most 16777216
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 128,
        help_heading = "Messages"
    )]
    #[arg(value_parser = RangedU64ValueParser::<usize>::new().range(0..=16 << 20))]
    size: usize,

    /// Send text messages instead of binary ones
    #[arg(long, help_heading = "Messages")]
    text: bool,

    /// How long an echo may take
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10s",
        help_heading = "Messages"
    )]
    #[arg(value_parser = humantime::parse_duration)]
    message_timeout: Duration,

    /// Pods to ask for their counts, HOST:PORT each; a name means all its addresses; repeatable
    #[arg(
        long,
        value_name = "ADDR,…",
        value_delimiter = ',',
        help_heading = "Pods"
    )]
    pods: Vec<PodAddress>,

    /// Path of the count on each pod
    #[arg(long, value_name = "PATH", default_value = DEFAULT_METRIC_PATH, help_heading = "Pods")]
    #[arg(value_parser = parse_path)]
    metric_path: PathAndQuery,

    /// Fail if a pod counts more than F times the mean of all, as 1.02
    #[arg(long, value_name = "F", requires = "pods", help_heading = "Pods")]
    #[arg(value_parser = parse_factor)]
    pub(crate) max_imbalance: Option<f64>,

    /// Print one JSON document instead of the table
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

impl LoadArguments {
    /// What to open.
    pub(crate) fn load(&self) -> Load {
        Load {
            connections: self.connections,
            rate: NonZeroU32::new(self.rate),
            max_pending: self.max_pending,
            messages: self.messages,
            message_size: self.size,
            message_kind: if self.text {
                MessageKind::Text
            } else {
                MessageKind::Binary
            },
            message_timeout: self.message_timeout,
            connect_timeout: self.connect_timeout,
            subprotocols: self.subprotocol.clone(),
            headers: self.header.clone(),
            insecure: self.insecure,
            ..Load::new(self.target.clone())
        }
    }

    /// Whom to ask; possibly nobody.
    pub(crate) fn pods(&self) -> Pods {
        Pods {
            addresses: self.pods.clone(),
            metric_path: self.metric_path.clone(),
            timeout: self.connect_timeout,
        }
    }
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is 'Name: value'")?;
    let name = HeaderName::try_from(name.trim()).map_err(|error| error.to_string())?;
    let value = HeaderValue::try_from(value.trim()).map_err(|error| error.to_string())?;
    Ok((name, value))
}

/// A subprotocol is a token (RFC 6455, section 4.1), as the name of a header is.
fn parse_token(text: &str) -> Result<String, String> {
    HeaderName::try_from(text).map_err(|_| "a subprotocol has no spaces, commas or quotes")?;
    Ok(text.to_owned())
}

fn parse_path(text: &str) -> Result<PathAndQuery, String> {
    if !text.starts_with('/') {
        return Err("a path begins with /".to_owned());
    }
    PathAndQuery::try_from(text).map_err(|error| error.to_string())
}

fn parse_factor(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if (1.0..f64::INFINITY).contains(&factor) => Ok(factor),
        Ok(_) => Err("the largest count is never less than the mean: at least 1".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        load: LoadArguments,
    }

    fn parse(arguments: &[&str]) -> Result<LoadArguments, clap::Error> {
        let words = ["load", "ws://gateway/"];
        let program = Program::try_parse_from(words.iter().chain(arguments))?;
        Ok(program.load)
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let load = parse(&[]).expect("a URL is enough").load();
        let default = Load::new("ws://gateway/".parse().expect("a URL"));
        assert_eq!(format!("{load:?}"), format!("{default:?}"));
    }

    #[test]
    fn no_rate_is_a_rate_of_zero() {
        assert_eq!(parse(&["--rate", "0"]).expect("a rate").load().rate, None);
    }

    #[test]
    fn pods_are_separated_by_commas_or_repeated() {
        let arguments = parse(&["--pods", "a:1,b:2", "--pods", "[::1]:3"]).expect("three pods");
        let addresses: Vec<String> = arguments
            .pods()
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(addresses, ["a:1", "b:2", "[::1]:3"]);
    }

    #[test]
    fn bad_usage_is_refused() {
        for bad in [
            ["--connections", "0"],
            ["--hold", "10"],
            ["--header", "no colon"],
            ["--header", "sp ace: value"],
            ["--subprotocol", "two words"],
            ["--pods", "10.0.0.1"],
            ["--metric-path", "metric"],
            ["--max-imbalance", "1.1"],
            ["--size", "16777217"],
        ] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
        for factor in ["0.9", "NaN", "inf"] {
            assert!(
                parse(&["--pods", "a:1", "--max-imbalance", factor]).is_err(),
                "{factor}"
            );
        }
        assert!(parse(&["--keep", "--hold", "1s"]).is_err());
    }
}
