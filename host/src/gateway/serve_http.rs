//! Serves HTTP, the API's behind TLS and the metrics' in the clear: bounded in connections, header size and time.

use crate::api::Peer;
use crate::tls::{Alpn, TlsServer};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections of the API at one moment: people and agents that wait for approvals, not bulk traffic.
pub(super) const API_CONNECTIONS: usize = 2048;

/// Connections to the metrics at one moment: a scraper or two, and a probe.
pub(super) const METRICS_CONNECTIONS: usize = 16;

/// For a TLS handshake, and for each request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A token of 16 KiB and the headers around it.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// How long open requests get when the gateway stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What the bytes travel in.
#[derive(Clone)]
pub(super) enum Transport {
    /// For everything that carries a credential or names anybody.
    Tls(Arc<TlsServer>),
    /// For numbers alone.
    Clear,
}

pub(super) async fn serve(
    listener: TcpListener,
    transport: Transport,
    connections_at_once: usize,
    router: axum::Router,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(connections_at_once));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, usually: waiting gives connections time to end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (transport, router, stop) = (transport.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            carry(stream, peer.ip(), &transport, router, stop).await;
            drop(place);
        });
    }
    connections.close();
    let _ = tokio::time::timeout(STOP_TIMEOUT, connections.wait()).await;
}

async fn carry(
    stream: TcpStream,
    peer: IpAddr,
    transport: &Transport,
    router: axum::Router,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    match transport {
        Transport::Clear => answer(stream, peer, router, stop).await,
        Transport::Tls(tls) => {
            let handshake = tokio::time::timeout(HEADER_TIMEOUT, tls.accept(stream, Some(Alpn::Http)));
            let Ok(Ok(stream)) = handshake.await else { return };
            answer(stream, peer, router, stop).await;
        }
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
    router: axum::Router,
    stop: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let from_peer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.call(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), from_peer);
    tokio::pin!(connection);
    tokio::select! {
        // What goes wrong on one connection is its client's business.
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(STOP_TIMEOUT, connection).await;
        }
    }
}
