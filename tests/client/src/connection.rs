//! One open WebSocket, owned by a task of its own.
//!
//! The task reads all the time, which is what answers pings and notices an early end; it
//! writes the end of the connection into the tally exactly once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use crate::handshake::{Socket, explain};
use crate::load::Load;
use crate::tally::{Ledger, Tally};

/// How long the peer may take to answer a Close frame and end the TCP connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The handle of an open WebSocket. Dropping it closes the WebSocket, but nobody waits for that.
#[derive(Debug)]
pub(crate) struct Connection {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
enum Command {
    Exchange {
        messages: u32,
        stop: CancellationToken,
        done: oneshot::Sender<()>,
    },
    Close,
}

/// Somebody else ended the connection, for this reason.
struct EndedEarly(String);

impl Connection {
    /// Keeps `socket`, the connection number `index` of the load, open.
    pub(crate) fn hold(socket: Socket, index: u32, load: Arc<Load>, ledger: Ledger) -> Self {
        let (commands, orders) = mpsc::channel(1);
        let holder = Holder {
            socket,
            index,
            messages_so_far: 0,
            load,
            ledger,
        };
        Self {
            commands,
            task: tokio::spawn(holder.run(orders)),
        }
    }

    /// Whether nobody has ended it yet.
    pub(crate) fn is_open(&self) -> bool {
        !self.commands.is_closed()
    }

    /// Sends messages one after the other and verifies their echoes, until all are sent,
    /// `stop` is cancelled, an echo is overdue, or the connection ends.
    pub(crate) async fn exchange(&self, messages: u32, stop: &CancellationToken) {
        let (done, is_done) = oneshot::channel();
        let command = Command::Exchange {
            messages,
            stop: stop.clone(),
            done,
        };
        if self.commands.send(command).await.is_ok() && is_done.await.is_err() {
            // The connection has ended; from here on the tally knows it.
            self.commands.closed().await;
        }
    }

    /// Asks for a close with code 1000; [`Connection::ended`] waits for it.
    pub(crate) async fn start_closing(&self) {
        // Fails only where the connection has ended already.
        let _ = self.commands.send(Command::Close).await;
    }

    /// Waits until the connection has ended.
    pub(crate) async fn ended(self) {
        self.task.await.expect("holding a connection never panics");
    }
}

struct Holder {
    socket: Socket,
    index: u32,
    messages_so_far: u32,
    load: Arc<Load>,
    ledger: Ledger,
}

impl Holder {
    async fn run(mut self, mut orders: mpsc::Receiver<Command>) {
        match self.follow(&mut orders).await {
            Ok(()) => {
                drop(orders);
                self.close().await;
                self.ledger.send_modify(Tally::closed);
            }
            Err(EndedEarly(reason)) => {
                // Both at once: whoever learns of the end from the handle finds it in the
                // tally, and the other way round.
                self.ledger.send_modify(|tally| {
                    drop(orders);
                    tally.closed_early(&reason);
                });
                // Sends the answer to the Close frame, if it was one.
                self.read_to_end().await;
            }
        }
    }

    /// Follows orders until one is to close.
    async fn follow(&mut self, orders: &mut mpsc::Receiver<Command>) -> Result<(), EndedEarly> {
        loop {
            tokio::select! {
                command = orders.recv() => match command {
                    Some(Command::Exchange { messages, stop, done }) => {
                        self.exchange(messages, &stop).await?;
                        // Whoever does not wait for the end does not want to know it.
                        let _ = done.send(());
                    }
                    Some(Command::Close) | None => return Ok(()),
                },
                // Data that nobody waits for may be a late echo.
                read = read(&mut self.socket) => drop(read?),
            }
        }
    }

    async fn exchange(
        &mut self,
        messages: u32,
        stop: &CancellationToken,
    ) -> Result<(), EndedEarly> {
        for _ in 0..messages {
            if stop.is_cancelled() {
                break;
            }
            let message = self.load.message_kind.message(
                self.index,
                self.messages_so_far,
                self.load.message_size,
            );
            self.messages_so_far = self.messages_so_far.wrapping_add(1);
            match timeout(self.load.message_timeout, self.echo(message.clone())).await {
                Ok(Ok(echo)) if echo == message => {
                    self.ledger.send_modify(Tally::verified);
                }
                Ok(Ok(_)) => {
                    let reason = "the echo differs from what was sent".to_owned();
                    self.ledger
                        .send_modify(|tally| tally.not_verified(Some(reason)));
                }
                Ok(Err(ended)) => {
                    self.ledger.send_modify(|tally| tally.not_verified(None));
                    return Err(ended);
                }
                Err(_) => {
                    let limit = humantime::format_duration(self.load.message_timeout);
                    let reason = format!("no echo within {limit}");
                    self.ledger
                        .send_modify(|tally| tally.not_verified(Some(reason)));
                    break;
                }
            }
        }
        Ok(())
    }

    async fn echo(&mut self, message: Message) -> Result<Message, EndedEarly> {
        self.socket
            .send(message)
            .await
            .map_err(|error| EndedEarly(explain(&error)))?;
        loop {
            let received = read(&mut self.socket).await?;
            if received.is_text() || received.is_binary() {
                return Ok(received);
            }
        }
    }

    async fn close(&mut self) {
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        let closing = async {
            // Where the Close frame cannot be sent, there is no connection left to close.
            if self.socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        // A peer that does not answer in time loses the connection anyway.
        let _ = timeout(CLOSE_TIMEOUT, closing).await;
    }

    async fn read_to_end(&mut self) {
        let reading = async { while let Some(Ok(_)) = self.socket.next().await {} };
        // A peer that does not end the TCP connection in time loses it anyway.
        let _ = timeout(CLOSE_TIMEOUT, reading).await;
    }
}

async fn read(socket: &mut Socket) -> Result<Message, EndedEarly> {
    match socket.next().await {
        Some(Ok(Message::Close(frame))) => Err(EndedEarly(match frame {
            Some(frame) if frame.reason.is_empty() => format!("code {}", frame.code),
            Some(frame) => format!("code {} ({})", frame.code, frame.reason),
            None => "no code".to_owned(),
        })),
        Some(Ok(message)) => Ok(message),
        Some(Err(error)) => Err(EndedEarly(explain(&error))),
        None => Err(EndedEarly(explain(&Error::ConnectionClosed))),
    }
}
