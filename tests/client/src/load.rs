//! What to open, and opening it: at a rate, with a bound on the handshakes under way.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::handshake::Handshaker;
use crate::held::Held;
use crate::pacing;
use crate::payload::MessageKind;
use crate::tally::{Ledger, Tally};
use crate::target::Target;

/// WebSockets to open and what to send over each of them.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where they go.
    ///
    /// The host is resolved once; where it has several addresses, each connection goes to
    /// the first of them that accepts it.
    pub target: Target,
    /// How many.
    pub connections: u32,
    /// How many per second; as fast as possible without.
    ///
    /// After a delay the connections that are overdue follow at once.
    pub rate: Option<NonZeroU32>,
    /// At most so many handshakes are under way at any moment; at least 1.
    pub max_pending: usize,
    /// Messages to exchange over each connection as soon as it is open.
    pub messages: u32,
    /// Bytes of each message; at most 16 MiB.
    pub message_size: usize,
    /// Text or binary.
    pub message_kind: MessageKind,
    /// How long an echo may take.
    pub message_timeout: Duration,
    /// How long a handshake may take, from the TCP connection to the upgrade.
    pub connect_timeout: Duration,
    /// Subprotocols to offer, best first; the server must then choose one of them.
    pub subprotocols: Vec<String>,
    /// Headers to add to the upgrade; `Host` replaces that of the URL.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether to accept any certificate of a `wss://` server.
    pub insecure: bool,
}

/// How far the opening has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Connections that were opened.
    pub opened: u64,
    /// Connections that could not be opened.
    pub failed: u64,
}

impl Load {
    /// 100 connections, 500 per second, with one message of 128 bytes over each.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            connections: 100,
            rate: NonZeroU32::new(500),
            max_pending: 512,
            messages: 1,
            message_size: 128,
            message_kind: MessageKind::Binary,
            message_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            subprotocols: Vec::new(),
            headers: Vec::new(),
            insecure: false,
        }
    }

    /// Opens all connections and exchanges the messages.
    ///
    /// Whatever fails is in the [report](Held::report), never an error here. Must be called
    /// on a tokio runtime, which keeps the connections alive.
    pub async fn open(&self) -> Held {
        self.open_until(&CancellationToken::new(), |_| ()).await
    }

    /// Like [`Load::open`], but starts nothing more once `stop` is cancelled, and tells
    /// `on_progress` about each connection that was opened or not.
    ///
    /// Handshakes under way at that moment are given up; what is open stays open.
    pub async fn open_until(
        &self,
        stop: &CancellationToken,
        mut on_progress: impl FnMut(Progress),
    ) -> Held {
        let load = Arc::new(self.clone());
        let ledger = Ledger::new(Tally::new(self.connections));
        let mut connections = Vec::new();
        match Handshaker::prepare(self).await {
            Ok(handshaker) => {
                let opening = Arc::new(Opening {
                    load: Arc::clone(&load),
                    handshaker,
                    ledger: ledger.clone(),
                    stop: stop.clone(),
                    pending: Arc::new(Semaphore::new(self.max_pending)),
                    started: Instant::now(),
                });
                connections = opening.open_all(&mut on_progress).await;
            }
            Err(reason) => {
                ledger.send_modify(|tally| tally.not_opened(self.connections, reason));
            }
        }
        on_progress(ledger.borrow().progress());
        Held::new(load, ledger, connections)
    }
}

/// The connections of one load on their way.
struct Opening {
    load: Arc<Load>,
    handshaker: Handshaker,
    ledger: Ledger,
    stop: CancellationToken,
    pending: Arc<Semaphore>,
    started: Instant,
}

impl Opening {
    async fn open_all(self: Arc<Self>, on_progress: &mut impl FnMut(Progress)) -> Vec<Connection> {
        let all = self.load.connections;
        let mut connections = Vec::new();
        let mut tasks = JoinSet::new();
        let mut next = 0;
        loop {
            tokio::select! {
                // Nothing more is started once the stop is known.
                biased;
                () = self.stop.cancelled(), if next < all => {
                    self.ledger.send_modify(|tally| tally.not_tried(all - next));
                    next = all;
                }
                permit = self.turn_of(next), if next < all => {
                    tasks.spawn(Arc::clone(&self).open_one(next, permit));
                    next += 1;
                }
                Some(opened) = tasks.join_next() => {
                    connections.extend(opened.expect("opening a connection never panics"));
                    on_progress(self.ledger.borrow().progress());
                }
                else => return connections,
            }
        }
    }

    /// Waits until connection number `index` is due and fewer than the limit are pending.
    async fn turn_of(&self, index: u32) -> OwnedSemaphorePermit {
        sleep_until(self.started + pacing::due(index, self.load.rate)).await;
        let permit = Arc::clone(&self.pending).acquire_owned().await;
        permit.expect("nobody closes the semaphore")
    }

    /// Opens connection number `index` and exchanges the messages; the permit is for the
    /// handshake alone.
    async fn open_one(
        self: Arc<Self>,
        index: u32,
        permit: OwnedSemaphorePermit,
    ) -> Option<Connection> {
        // Boxed, the many buffers of a handshake do not outlive it in the task.
        let handshake = Box::pin(self.handshaker.shake_hands());
        let shaken = self.stop.run_until_cancelled(handshake).await;
        drop(permit);
        match shaken {
            Some(Ok((socket, latency))) => {
                self.ledger.send_modify(|tally| tally.opened(latency));
                let connection =
                    Connection::hold(socket, index, Arc::clone(&self.load), self.ledger.clone());
                connection.exchange(self.load.messages, &self.stop).await;
                Some(connection)
            }
            Some(Err(reason)) => {
                self.ledger.send_modify(|tally| tally.not_opened(1, reason));
                None
            }
            None => {
                self.ledger.send_modify(|tally| tally.not_tried(1));
                None
            }
        }
    }
}
