//! What the first handshakes after a start take: V8 compiles a module as it is used, and well only
//! after some use.

use std::fmt;
use std::net::SocketAddr;

use anyhow::Result;
use serde::Serialize;

use crate::measures::{Effort, Upgrades};
use crate::proxies::Kind;
use crate::report::{Expectation, Spread};

/// After the first turn, so many more until all is warm.
const WARM_UP: u32 = 3;
const EXPECTATION: Expectation = Expectation::AtMost(1.5);

/// The numbers of all rounds.
#[derive(Serialize)]
pub(crate) struct Cold {
    /// How many are the first.
    handshakes: u32,
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
    pub(crate) async fn take(pods: &[SocketAddr], rounds: u32, effort: Effort) -> Result<Self> {
        let (mut envoy, mut filter) = (Vec::new(), Vec::new());
        for number in 1..=rounds {
            eprintln!("round {number} of {rounds}: a start");
            envoy.push(Start::take(Kind::Envoy, pods, effort).await?);
            filter.push(Start::take(Kind::Filter, pods, effort).await?);
        }
        Ok(Self {
            handshakes: effort.upgrades,
            envoy,
            filter,
        })
    }
}

impl Start {
    async fn take(kind: Kind, pods: &[SocketAddr], effort: Effort) -> Result<Self> {
        let proxy = tokio::task::block_in_place(|| kind.start(pods))?;
        let first = Upgrades::take(&proxy, effort.upgrades).await?;
        Upgrades::take(&proxy, effort.upgrades * WARM_UP).await?;
        let later = Upgrades::take(&proxy, effort.upgrades).await?;
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
            "The first {} handshakes after a start have a p90 of {filter} times that of later \
             ones, {}; without the filter {}.",
            self.handshakes,
            EXPECTATION.verdict(filter),
            ratio(&self.envoy),
        )
    }
}
