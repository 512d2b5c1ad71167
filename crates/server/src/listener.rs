//! Sockets: how many, how long, and how they end.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, join};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};

use crate::adjustable::Adjustable;
use crate::edge::Edge;
use crate::metrics::Metrics;
use crate::peer::PeerIdentity;
use crate::tls::{Guest, Tls};

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PREFACE_PATIENCE: Duration = Duration::from_secs(5);
const STREAMS: u32 = 256;
const RESET_STREAMS: usize = 20;
const LOCAL_ERROR_RESETS: usize = 256;
const HEADER_BYTES: u32 = 16 << 10;
const SEND_BUFFER_BYTES: usize = 1 << 20;
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_PATIENCE: Duration = Duration::from_secs(10);
const TCP_PROBE_AFTER: Duration = Duration::from_secs(60);
/// After this long a connection is asked to come anew, so that load can move and no state lives for ever.
const MAX_AGE: Duration = Duration::from_secs(30 * 60);
const AGE_GRACE: Duration = Duration::from_secs(30);
/// Pause after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What connections are accepted for.
pub(crate) struct Door {
    /// Answers calls.
    pub(crate) edge: Edge,
    /// Speaks TLS, where that is spoken.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Says how many connections there may be, and how long they may take to end.
    pub(crate) adjustable: watch::Receiver<Adjustable>,
}

/// Accepts connections until `stop` turns true, then asks all of them to end and waits until the drain time after that.
/// Returns how many had to be cut.
pub(crate) async fn accept(listener: TcpListener, door: Door, stop: watch::Receiver<bool>) -> usize {
    let Door { edge, tls, mut adjustable } = door;
    let mut connections = JoinSet::new();
    let mut stopping = stop.clone();
    let mut stopped = pin!(stopping.wait_for(|stop| *stop));
    loop {
        // Without room a connection waits in the system's own queue.
        let room = connections.len() < adjustable.borrow_and_update().max_connections;
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => continue,
            Ok(()) = adjustable.changed() => continue,
            accepted = accept_one(&listener), if room => accepted,
        };
        match accepted {
            Ok(socket) => {
                connections.spawn(serve_connection(socket, edge.clone(), tls.clone(), stop.clone()));
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let deadline = Instant::now() + adjustable.borrow().drain;
    while let Ok(Some(_)) = timeout_at(deadline, connections.join_next()).await {}
    let cut = connections.len();
    connections.shutdown().await;
    cut
}

async fn accept_one(listener: &TcpListener) -> io::Result<TcpStream> {
    let (socket, _) = listener.accept().await?;
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_PROBE_AFTER))?;
    Ok(socket)
}

/// One connection from its first byte to its end.
async fn serve_connection(socket: TcpStream, edge: Edge, tls: Option<Arc<Tls>>, stop: watch::Receiver<bool>) {
    let metrics = edge.metrics();
    let _open = metrics.connection_opened();
    let Some(tls) = tls else {
        let (read, write) = socket.into_split();
        return speak((read, write), edge, Visit { peer: None, over: std::future::pending(), stop }).await;
    };
    let greeted = tokio::select! {
        greeted = tls.greet(socket, &metrics) => greeted,
        () = until_true(stop.clone()) => None,
    };
    if let Some(Guest { stream, peer, mut let_in }) = greeted {
        let over = async move {
            if let_in.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        speak(tokio::io::split(stream), edge, Visit { peer, over, stop }).await;
    }
}

/// How a connection is seen from the door.
struct Visit<O> {
    peer: Option<PeerIdentity>,
    /// Ends when the peer has to come anew.
    over: O,
    stop: watch::Receiver<bool>,
}

/// Speaks HTTP/2 with a peer until one of the two ends it.
async fn speak(
    halves: (impl AsyncRead + Send + Unpin + 'static, impl AsyncWrite + Send + Unpin + 'static),
    edge: Edge,
    visit: Visit<impl Future<Output = ()>>,
) {
    let Visit { peer, over, stop } = visit;
    let Some(io) = greet(halves, stop.clone()).await else { return };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(LOCAL_ERROR_RESETS)
        .max_header_list_size(HEADER_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_PATIENCE);
    let answer = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        edge.clone().answer(request)
    });
    let connection = builder.serve_connection(io, answer);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = sleep(MAX_AGE) => None,
        () = over => None,
        () = until_true(stop.clone()) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = &mut connection => ended,
                // While draining the accept loop's own deadline cuts; an aged connection has its grace.
                () = async { if *stop.borrow() { std::future::pending().await } else { sleep(AGE_GRACE).await } } => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended with an error");
    }
}

/// Reads the HTTP/2 preface, within its patience, and hands both halves on as if nothing had been read. `None` where
/// the peer says nothing, something else, or the server stops first.
async fn greet<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    (mut read, write): (R, W),
    stop: watch::Receiver<bool>,
) -> Option<TokioIo<impl AsyncRead + AsyncWrite + Unpin>> {
    let mut preface = [0; PREFACE.len()];
    let reading = timeout(PREFACE_PATIENCE, read.read_exact(&mut preface));
    tokio::select! {
        read = reading => read.ok()?.ok()?,
        () = until_true(stop) => return None,
    };
    if preface != *PREFACE {
        return None;
    }
    Some(TokioIo::new(join(io::Cursor::new(preface).chain(read), write)))
}

/// Returns once `flag` is true; never, where its sender has gone before.
pub(crate) async fn until_true(mut flag: watch::Receiver<bool>) {
    if flag.wait_for(|set| *set).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Runs `work` beside everything else, until it ends or `stop` turns true.
pub(crate) fn spawn_until(stop: &watch::Receiver<bool>, work: impl Future<Output = ()> + Send + 'static) {
    let stopped = until_true(stop.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = work => {}
            () = stopped => {}
        }
    });
}

/// Serves the numbers over HTTP/1.1 at any path until `stopped` ends.
pub(crate) async fn serve_metrics(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    engine: Arc<engine::Engine>,
    stopped: impl Future<Output = ()>,
) {
    let serving = async {
        loop {
            let Ok((socket, _)) = listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let text = metrics.render(&engine);
            let answer = service_fn(move |_| {
                let body = http_body_util::Full::new(hyper::body::Bytes::from(text.clone()));
                let response = http::Response::builder().header("content-type", "text/plain; version=0.0.4").body(body);
                async move { response }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(socket), answer);
            // One scrape at a time, and none may hold the port.
            let _ = timeout(PREFACE_PATIENCE, served).await;
        }
    };
    tokio::select! {
        () = serving => {}
        () = stopped => info!("metrics closed"),
    }
}
