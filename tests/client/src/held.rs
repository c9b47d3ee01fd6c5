//! The open WebSockets of a load.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::load::Load;
use crate::report::{Messages, Report};
use crate::tally::Ledger;

/// WebSockets that stay open, and answer pings, until they are closed or somebody else
/// closes them.
///
/// Dropping it closes them too, but does not wait for that.
#[derive(Debug)]
pub struct Held {
    load: Arc<Load>,
    ledger: Ledger,
    connections: Vec<Connection>,
}

impl Held {
    pub(crate) fn new(load: Arc<Load>, ledger: Ledger, connections: Vec<Connection>) -> Self {
        Self {
            load,
            ledger,
            connections,
        }
    }

    /// How many are open at this moment.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ledger.borrow().open
    }

    /// Whether none is open at this moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until no more than `most` are open: until others have closed the rest.
    pub async fn shrunk_to(&self, most: usize) {
        let mut watcher = self.ledger.subscribe();
        // Fails only where the ledger is gone, and it is held here.
        let _ = watcher.wait_for(|tally| tally.open <= most).await;
    }

    /// Sends `messages` more over every open connection at the same time and verifies the
    /// echoes; returns the numbers of this exchange.
    pub async fn exchange(&mut self, messages: u32) -> Messages {
        let before = self.ledger.borrow().messages;
        let stop = CancellationToken::new();
        join_all(
            self.connections
                .iter()
                .map(|connection| connection.exchange(messages, &stop)),
        )
        .await;
        let after = self.ledger.borrow().messages;
        Messages {
            sent: after.sent - before.sent,
            verified: after.verified - before.verified,
            failed: after.failed - before.failed,
        }
    }

    /// Closes `count` of those that are open, in the order in which they were opened, and
    /// returns how many there were to close.
    pub async fn close_some(&mut self, count: usize) -> usize {
        let chosen: Vec<Connection> = self
            .connections
            .extract_if(.., |connection| connection.is_open())
            .take(count)
            .collect();
        let closed = chosen.len();
        close_all(chosen).await;
        closed
    }

    /// Closes all with code 1000 (RFC 6455, section 7.4.1) and reports.
    pub async fn close(mut self) -> Report {
        close_all(std::mem::take(&mut self.connections)).await;
        self.report()
    }

    /// What came of the load so far. The pods are the caller's to [add](Report::add_pods).
    #[must_use]
    pub fn report(&self) -> Report {
        self.ledger.borrow().report(self.load.target.to_string())
    }
}

async fn close_all(connections: Vec<Connection>) {
    for connection in &connections {
        connection.start_closing().await;
    }
    for connection in connections {
        connection.ended().await;
    }
}
