//! The command line, parsed into the library's types: what clap accepts needs no further
//! check.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{CommandFactory, FromArgMatches, Parser};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use wsbalancer_client::{
    DEFAULT_METRIC_PATH, Load, MessageKind, PodAddress, Pods, StatusUrl, Target,
};

/// Who asks more often sees no more.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

const ABOUT: &str = "\
Opens WebSockets through a gateway and shows how they spread over the pods.

Each connection sends messages that the server must echo, and stays open until all are open. \
The pods, if given, are asked directly how many WebSockets they count, before and while all \
are open. Ctrl-C closes the connections and still reports.

With watch it opens nothing, and shows what the balancer tells of itself.";

const EXAMPLES: &str = "\
Examples:
  20,000 WebSockets, 1,000 per second, and what three pods count:
    wsbalancer-client ws://gateway:8080/agents -n 20000 --rate 1000 \\
        --pods 10.0.0.1:8080,10.0.0.2:8080,10.0.0.3:8080

  The same as a check: fail if a pod has more than 2 % above the mean
    … --max-imbalance 1.02 --json | jq .imbalance

  The state of the balancer, live:
    wsbalancer-client watch http://10.0.0.1:9902/balancer-metrics

Exit code:
  0 if all went well; 1 if a handshake, a message or a pod failed, a connection
  closed early, or the pods are less even than allowed; 2 for bad usage.";

const WATCH_ABOUT: &str = "Shows the state of the balancer live, each pod against its even share";

const WATCH_NOTES: &str = "\
The pods are those of one service at a time. A URL that can't be reached is
tried again and again, with the last state left to be looked at.

Keys:
  q, Ctrl-C       quit
  n, c, s         order by name, count or state; once more turns the order around
  p               pause, and go on
  Tab, ← →        another service
  ↑ ↓, PgUp PgDn  scroll; Home and End go to the ends

Exit code:
  0 if all went well; 1 if with --once the state can't be had, or without it
  there is no terminal; 2 for bad usage.";

/// What the user wants done.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// To open WebSockets.
    Load(Box<Arguments>),
    /// To see the state of the balancer.
    Watch(WatchArguments),
}

impl Invocation {
    /// Reads the command line; ends the program where it asks for help or can't be understood.
    pub(crate) fn parse() -> Self {
        Self::try_parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn try_parse_from(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(words)?;
        Ok(match matches.subcommand() {
            Some((_, watch)) => Self::Watch(WatchArguments::from_arg_matches(watch)?),
            None => Self::Load(Box::new(Arguments::from_arg_matches(&matches)?)),
        })
    }
}

/// The command line without a subcommand is that of [`Arguments`]; `watch` is no URL.
fn command() -> clap::Command {
    Arguments::command()
        .subcommand(WatchArguments::command())
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .disable_help_subcommand(true)
}

/// What the user asks for with `watch`.
#[derive(Debug, Parser)]
#[command(name = "watch", about = WATCH_ABOUT, long_about = None, after_help = WATCH_NOTES)]
pub(crate) struct WatchArguments {
    /// Where the filter tells its state: http://HOST:PORT and its `status.path`
    #[arg(value_name = "URL")]
    pub(crate) url: StatusUrl,

    /// How often to ask for it
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_interval)]
    pub(crate) interval: Duration,

    /// Print it once, without colours, and end
    #[arg(long, conflicts_with = "interval")]
    pub(crate) once: bool,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(interval) if interval >= SHORTEST_INTERVAL => Ok(interval),
        Ok(_) => Err("an answer takes a while: at least 100ms".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What the user asks for.
#[derive(Debug, Parser)]
// The one text of --help and -h: a long one would spread every option over several lines.
#[command(version, about = ABOUT, long_about = None, after_help = EXAMPLES, max_term_width = 100)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, and they go together in any combination"
)]
pub(crate) struct Arguments {
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

impl Arguments {
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
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        let program = ["wsbalancer-client", "ws://gateway/"];
        Arguments::try_parse_from(program.iter().chain(arguments))
    }

    #[test]
    fn the_definition_has_no_contradictions() {
        Arguments::command().debug_assert();
        command().debug_assert();
    }

    #[test]
    fn watch_is_the_only_word_that_is_no_url() {
        let invoke = |words: &str| {
            let words = std::iter::once("wsbalancer-client").chain(words.split_whitespace());
            Invocation::try_parse_from(words.map(str::to_owned))
        };
        let load = invoke("--connections 7 ws://gateway/ --header watch:this");
        assert!(matches!(load, Ok(Invocation::Load(load)) if load.connections == 7));
        let url = "http://127.0.0.1:9902/balancer-metrics?format=json";
        let Ok(Invocation::Watch(watch)) = invoke(&format!("watch {url} --interval 250ms")) else {
            panic!("a URL and an interval")
        };
        assert_eq!(watch.url.to_string(), url);
        assert_eq!(
            (watch.interval, watch.once),
            (Duration::from_millis(250), false)
        );
        for bad in [
            "",
            "help",
            "watch",
            "watch ws://gateway/",
            "watch http://gateway/ --interval 0s",
            "watch http://gateway/ --interval often",
            "watch http://gateway/ --connections 7",
            "--connections 7 watch http://gateway/",
            "ws://gateway/ watch",
            "http://gateway/ --once",
        ] {
            assert!(invoke(bad).is_err(), "{bad}");
        }
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
