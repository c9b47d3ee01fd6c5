//! An address to be reached at: kept for its owner's whole life, open or closed.
//!
//! A socket that is bound and never listens holds the port. While nobody listens beside it the
//! kernel refuses every connection, and gives the port to nobody else: neither to a bind of port
//! 0 nor to a client that connects, which could otherwise end up connected to itself.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use axum::Router;
use axum::serve::Listener;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections that the kernel completes ahead of us; Linux cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Where a pod, or the control endpoint, is reached, and whether it can be.
pub(crate) struct Door {
    address: SocketAddr,
    entrance: Mutex<Option<Entrance>>,
    is_open: watch::Sender<bool>,
    lifetime: Lifetime,
    tls: Option<TlsAcceptor>,
    _reservation: TcpSocket,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("address", &self.address)
            .field("is_open", &self.is_open())
            .field("has_tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// What all tasks of a fleet have in common: when they end, and whether they have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lifetime {
    pub(crate) end: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// A listener that is being served.
#[derive(Debug)]
struct Entrance {
    closing: CancellationToken,
    listening: JoinHandle<()>,
}

impl Door {
    /// Takes `listen`, or a free port of it where its port is 0, and stays closed.
    ///
    /// # Errors
    ///
    /// Fails where the address is not this machine's or somebody else listens on it.
    pub(crate) fn reserve(listen: SocketAddr, lifetime: Lifetime) -> io::Result<Self> {
        let reservation = bind(listen)?;
        Ok(Self {
            address: reservation.local_addr()?,
            entrance: Mutex::default(),
            is_open: watch::Sender::new(false),
            lifetime,
            tls: None,
            _reservation: reservation,
        })
    }

    /// Has connections speak TLS.
    pub(crate) fn set_tls(&mut self, acceptor: TlsAcceptor) {
        self.tls = Some(acceptor);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.is_open.borrow()
    }

    /// Listens, if it does not yet: connections are accepted once this returns.
    ///
    /// # Errors
    ///
    /// Fails where somebody else listens on the address by now.
    pub(crate) async fn open(&self, router: Router) -> io::Result<()> {
        let mut entrance = self.entrance.lock().await;
        if entrance.is_some() {
            return Ok(());
        }
        let listener = bind(self.address)?.listen(BACKLOG)?;
        let closing = self.lifetime.end.child_token();
        let listening = self.lifetime.tasks.spawn(accept_connections(
            listener,
            self.tls.clone(),
            router,
            closing.clone(),
            self.lifetime.clone(),
        ));
        *entrance = Some(Entrance { closing, listening });
        self.is_open.send_replace(true);
        Ok(())
    }

    /// Stops listening, if it does: connections are refused once this returns.
    ///
    /// Connections that are kept alive take no further request; WebSockets stay.
    pub(crate) async fn close(&self) {
        let mut entrance = self.entrance.lock().await;
        if let Some(Entrance { closing, listening }) = entrance.take() {
            closing.cancel();
            if let Err(error) = listening.await {
                log::error!(
                    "{}: the task that accepts connections: {error}",
                    self.address
                );
            }
            self.is_open.send_replace(false);
        }
    }
}

/// Binds as both the reservation and the listener beside it must.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // SO_REUSEADDR lets a second socket bind as long as none listens. SO_REUSEPORT would do as
    // well, but would also let a second server share the port and its connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn accept_connections(
    mut listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    closing: CancellationToken,
    lifetime: Lifetime,
) {
    loop {
        // The trait's `accept` comes back from a lack of file descriptors.
        let (stream, _) = tokio::select! {
            () = closing.cancelled() => return,
            accepted = Listener::accept(&mut listener) => accepted,
        };
        if let Err(error) = stream.set_nodelay(true) {
            log::debug!("a connection without TCP_NODELAY: {error}");
        }
        let (tls, router, closing) = (tls.clone(), router.clone(), closing.clone());
        let end = lifetime.end.clone();
        lifetime.tasks.spawn(async move {
            let Some(tls) = tls else {
                return serve_connection(stream, router, closing, end).await;
            };
            let secured = tokio::select! {
                () = end.cancelled() => return,
                secured = tls.accept(stream) => secured,
            };
            match secured {
                Ok(stream) => serve_connection(stream, router, closing, end).await,
                Err(error) => log::debug!("a connection without TLS: {error}"),
            }
        });
    }
}

/// Serves a connection until it ends or becomes a WebSocket.
async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    closing: CancellationToken,
    end: CancellationToken,
) {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http2()
        .enable_connect_protocol()
        // One connection of a proxy may carry all of the pod's WebSockets.
        .max_concurrent_streams(None);
    let mut connection = pin!(
        protocol
            .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    // In this order a request that has not been read when the door closes is never answered.
    let result = tokio::select! {
        biased;
        () = end.cancelled() => return,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                result = connection => result,
            }
        }
        result = connection.as_mut() => result,
    };
    if let Err(error) = result {
        log::debug!("a connection has ended: {error}");
    }
}
