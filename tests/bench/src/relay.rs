//! How fast messages go through open WebSockets and back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Messages that a stream has under way, there or back: enough to keep every buffer filled.
const WINDOW: usize = 16;

/// Messages of `size` bytes to and fro, each connection with one at a time; how many a second went
/// there and back in all.
pub(crate) async fn ping_pong(
    address: SocketAddr,
    connections: u32,
    size: usize,
    span: Duration,
) -> Result<f64> {
    run(
        address,
        connections,
        span,
        move |mut socket, end| async move {
            let message = Message::Binary(Bytes::from(vec![0x5a; size]));
            let mut count = 0;
            while Instant::now() < end {
                socket.send(message.clone()).await?;
                receive(&mut socket, size).await?;
                count += 1;
            }
            socket.close(None).await?;
            Ok(count)
        },
    )
    .await
}

/// Messages of `size` bytes one after the other, without waiting for each; how many a second went
/// there and back in all.
pub(crate) async fn stream(
    address: SocketAddr,
    connections: u32,
    size: usize,
    span: Duration,
) -> Result<f64> {
    run(address, connections, span, move |socket, end| async move {
        let message = Message::Binary(Bytes::from(vec![0x5a; size]));
        let (mut sink, mut source) = socket.split();
        let window = Arc::new(Semaphore::new(WINDOW));
        let room = Arc::clone(&window);
        let sender = tokio::spawn(async move {
            while Instant::now() < end {
                room.acquire().await?.forget();
                sink.send(message.clone()).await?;
            }
            sink.close().await?;
            anyhow::Ok(())
        });
        let mut count = 0;
        while let Some(message) = source.next().await {
            if message?.is_binary() {
                window.add_permits(1);
                count += u32::from(Instant::now() < end);
            }
        }
        sender.await??;
        Ok(count)
    })
    .await
}

/// Runs `work` over each of so many WebSockets at once; what they counted, a second.
async fn run<F>(
    address: SocketAddr,
    connections: u32,
    span: Duration,
    work: impl Fn(Socket, Instant) -> F,
) -> Result<f64>
where
    F: Future<Output = Result<u32>> + Send + 'static,
{
    let mut sockets = Vec::new();
    for _ in 0..connections {
        let (socket, _) = connect_async(format!("ws://{address}/bench")).await?;
        sockets.push(socket);
    }
    let start = Instant::now();
    let end = start + span;
    let mut tasks = JoinSet::new();
    for socket in sockets {
        tasks.spawn(work(socket, end));
    }
    let mut count = 0.0;
    while let Some(counted) = tasks.join_next().await {
        count += f64::from(counted??);
    }
    Ok(count / span.as_secs_f64())
}

async fn receive(socket: &mut Socket, size: usize) -> Result<()> {
    let answer = socket.next().await.context("the WebSocket has ended")??;
    ensure!(answer.len() == size, "an echo of {} bytes", answer.len());
    Ok(())
}
