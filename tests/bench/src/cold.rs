//! What the first handshakes after a start take: V8 compiles a module as it is used, and well only
//! after some use.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::measures::Upgrades;
use crate::proxies::Kind;
use crate::report::{Expectation, Spread};

/// Handshakes that are the first.
const FIRST: u32 = 500;
/// Handshakes after those, until all is warm.
const WARM_UP: u32 = 1_500;
/// WebSockets opened a second.
const RATE: NonZeroU32 = NonZeroU32::new(500).unwrap();
const EXPECTATION: Expectation = Expectation::AtMost(1.5);

/// The numbers of all rounds.
#[derive(Serialize)]
pub(crate) struct Cold {
    envoy: Vec<Start>,
    filter: Vec<Start>,
}

/// One start of an Envoy.
#[derive(Serialize)]
struct Start {
    first: Upgrades,
    later: Upgrades,
}

impl Cold {
    /// Starts an Envoy with the filter and one without it, so often.
    pub(crate) async fn take(pods: &[SocketAddr], rounds: u32) -> Result<Self> {
        let (mut envoy, mut filter) = (Vec::new(), Vec::new());
        for number in 1..=rounds {
            eprintln!("round {number} of {rounds}: a start");
            envoy.push(Start::take(Kind::Envoy, pods).await?);
            filter.push(Start::take(Kind::Filter, pods).await?);
        }
        Ok(Self { envoy, filter })
    }
}

impl Start {
    async fn take(kind: Kind, pods: &[SocketAddr]) -> Result<Self> {
        let proxy = tokio::task::block_in_place(|| kind.start(pods))
            .with_context(|| format!("{} could not be started", kind.name()))?;
        let first = Upgrades::take(&proxy, FIRST, RATE).await?;
        Upgrades::take(&proxy, WARM_UP, RATE).await?;
        let later = Upgrades::take(&proxy, FIRST, RATE).await?;
        Ok(Self { first, later })
    }
}

/// The p90 of the first handshakes, as a ratio to that of later ones.
fn ratio(starts: &[Start]) -> Spread {
    let ratios = starts
        .iter()
        .map(|start| start.first.handshake_p90 / start.later.handshake_p90);
    Spread::of(ratios.collect())
}

impl fmt::Display for Cold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filter = ratio(&self.filter);
        write!(
            f,
            "The first {FIRST} handshakes after a start have a p90 of {filter} times that of later \
             ones, {}; without the filter {}.",
            EXPECTATION.verdict(filter),
            ratio(&self.envoy),
        )
    }
}
