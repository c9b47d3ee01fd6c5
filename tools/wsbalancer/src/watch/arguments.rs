//! The arguments of `watch`.

use std::time::Duration;

use clap::Args;
use wsbalancer_client::StatusUrl;

/// Who asks more often sees no more.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

const ABOUT: &str = "Show the state of the balancer live, each pod against its even share";

const NOTES: &str = "\
The pods are those of one service at a time. A URL that can't be reached is
tried again and again, with the last state left to be looked at.

Keys:
  q, Ctrl-C       quit
  n, c, s         order by name, count or state; once more turns the order around
  p               pause, and go on
  Tab, ← →        another service
  ↑ ↓, PgUp PgDn  scroll; Home and End go to the ends

Exit code:
  0 if all went well; 2 if with --once the state can't be had, or without it
  there is no terminal, and for bad usage.";

/// What the user asks for with `watch`.
#[derive(Debug, Args)]
#[command(about = ABOUT, long_about = None, after_help = NOTES)]
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
