//! Only now the client is told that it is in: AuthenticationOk, the target's settings, a cancel key of our own, ready.

use super::cancel::CancelRegistry;
use super::dial::Dialled;
use super::frame;
use super::greet::PostgresHello;
use super::relay::Link;
use crate::protocol::Goodbye;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

pub(super) async fn admit(
    hello: PostgresHello,
    dialled: Dialled,
    cancels: &Arc<CancelRegistry>,
) -> Result<Link, Goodbye> {
    let PostgresHello { mut stream, place, startup, .. } = hello;
    let Dialled { stream: target, reported, key, status, catalog } = dialled;
    // Fails closed: without randomness there is no secret, and without a secret anybody could cancel.
    let cancel = cancels
        .enter(key, startup.secret_bytes())
        .ok_or(Goodbye { why: "no randomness for a cancel key" })?;
    let mut out = Vec::with_capacity(reported.len() + 32);
    frame::message(&mut out, b'R', |out| out.extend_from_slice(&0u32.to_be_bytes()));
    out.extend_from_slice(&reported);
    frame::message(&mut out, b'K', |out| {
        out.extend_from_slice(&cancel.process().to_be_bytes());
        out.extend_from_slice(cancel.secret());
    });
    frame::ready(&mut out, status);
    let left = |_| Goodbye { why: "the client left" };
    stream.write_all(&out).await.map_err(left)?;
    stream.flush().await.map_err(left)?;
    Ok(Link { client: stream, target, cancel, catalog, status, place })
}
