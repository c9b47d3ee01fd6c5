//! A server that answers polls as a test wants, and as no pod of the fleet does: by the headers that
//! it is sent, and with headers of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server without WebSockets.
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    heads: Heads,
}

type Heads = Arc<Mutex<Vec<String>>>;

/// A longer head is no poll's.
const LONGEST_HEAD: usize = 64 * 1024;

impl Exporter {
    /// Starts one at an address, where port 0 is a free one. `answer` makes of the head of a request,
    /// in lower case, the status line without its version, further header fields with `\r\n` after
    /// each, and the body.
    ///
    /// # Errors
    /// When it can't listen there.
    pub async fn start<A>(address: SocketAddr, answer: A) -> anyhow::Result<Self>
    where
        A: Fn(&str) -> (String, String) + Clone + Send + 'static,
    {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let heads = Heads::default();
        let all = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&all), answer.clone()));
            }
        });
        Ok(Self { address, heads })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of all requests so far, in lower case.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        let heads = self.heads.lock();
        heads.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    heads: Heads,
    answer: impl Fn(&str) -> (String, String),
) -> anyhow::Result<()> {
    let mut read = Vec::new();
    loop {
        let end = read.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = end else {
            let got = stream.read_buf(&mut read).await?;
            anyhow::ensure!(got > 0 && read.len() < LONGEST_HEAD, "no head");
            continue;
        };
        let head: Vec<u8> = read.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head).to_lowercase();
        heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(head.clone());
        let (start, body) = answer(&head);
        let (status, fields) = start.split_once("\r\n").unwrap_or((&start, ""));
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\n{fields}content-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await?;
    }
}
