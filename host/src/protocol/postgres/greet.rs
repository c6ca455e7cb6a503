//! Start-up: TLS, what the client wants, and its token (PostgreSQL manual, "Message Flow", start-up and SSL encryption).
//!
//! Only TLS connections get as far as a password prompt. Nothing that a client sends before TLS is kept: bytes behind an
//! SSLRequest are refused, or they would be read as if they had been protected (CVE-2021-23214). The token comes as
//! the cleartext password, or by OAUTHBEARER where the client has asked for it (`oauth.rs`). What the start-up packet says is
//! in `startup.rs`.

use super::frame::{Body, Frame};
use super::refuse::{Severity, error};
use super::startup::{Method, Negotiation, Startup, startup};
use super::{Postgres, frame, oauth};
use crate::identity::Credential;
use crate::listener::Connection;
use crate::protocol::{Goodbye, Hello};
use crate::tls::{Alpn, ServerTls};
use chaperone_core::name::TargetName;
use chaperone_core::refusal::{Refusal, RefusalCode};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use zeroize::Zeroizing;

/// PostgreSQL's own bound of a start-up packet (`MAX_STARTUP_PACKET_LENGTH`).
const MAX_STARTUP_BYTES: usize = 10_000;

/// A token of 16 KiB is the most that identity accepts; the message around it is a few bytes.
const MAX_PASSWORD_BYTES: usize = 20 * 1024;

/// psql's prompt cuts a password at this length (IDENTITY, section 7); PGPASSWORD does not.
const PSQL_PROMPT_BYTES: usize = 4095;

/// Stands for a database name that cannot be a target's; configuration accepts no such target.
const NO_TARGET: &str = "(no-target)";

const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// A client that waits for an answer to its password.
pub struct PostgresHello {
    pub(super) stream: ServerTls,
    pub(super) startup: Startup,
    pub(super) place: OwnedSemaphorePermit,
    /// Given back when it is admitted or gone: strangers that are being refused count as strangers.
    _greeting: OwnedSemaphorePermit,
    target: TargetName,
    credential: Credential,
    peer: SocketAddr,
    prompt_cut: bool,
    discovery: Option<Arc<oauth::Discovery>>,
}

impl Hello for PostgresHello {
    fn target(&self) -> TargetName {
        self.target.clone()
    }

    fn credential(&self) -> &Credential {
        &self.credential
    }

    fn requested_role(&self) -> &str {
        &self.startup.user
    }

    fn peer(&self) -> SocketAddr {
        self.peer
    }
}

impl PostgresHello {
    /// Words a refusal and closes.
    pub(super) async fn refuse(mut self, refusal: &Refusal) {
        let mut refusal = refusal.clone();
        if self.prompt_cut && refusal.code == RefusalCode::CredentialInvalid {
            refusal.hint =
                "Set PGPASSWORD instead of typing the token: it is exactly as long as psql's password prompt \
                            allows (4095 bytes), so it was probably cut."
                    .into();
        }
        if self.startup.method == Method::Oauth && oauth::is_of_the_token(refusal.code) {
            oauth::fail(&mut self.stream, self.discovery.as_deref()).await;
        }
        goodbye(&mut self.stream, &refusal).await;
    }
}

/// Sends a FATAL error and closes; the client may be gone already, and then there is nobody to tell.
pub(super) async fn goodbye<S: AsyncWriteExt + Unpin>(stream: &mut S, refusal: &Refusal) {
    let mut out = Vec::with_capacity(512);
    error(&mut out, Severity::Fatal, refusal);
    let _ = stream.write_all(&out).await;
    let _ = stream.shutdown().await;
}

/// What the first packet on a connection was.
enum First {
    Tls(Box<ServerTls>),
    Done(Goodbye),
}

pub(super) async fn greet(postgres: &Postgres, connection: Connection) -> Result<PostgresHello, Goodbye> {
    let Connection { stream, peer, place, greeting } = connection;
    let mut stream = match first(postgres, stream).await? {
        First::Tls(stream) => *stream,
        First::Done(goodbye) => return Err(goodbye),
    };
    let packet = packet(&mut stream).await?;
    let startup = match code(&packet) {
        Some(CANCEL_REQUEST) => {
            let done = postgres.cancels.request(&packet).await;
            // libpq takes an end without TLS's own goodbye for a failure (`PQcancelBlocking`).
            let _ = stream.shutdown().await;
            return Err(done);
        }
        Some(SSL_REQUEST | GSSENC_REQUEST) => {
            let refusal =
                Refusal::new(RefusalCode::ProtocolViolation, "this connection is encrypted already")
                    .hint("Ask for encryption once.");
            goodbye(&mut stream, &refusal).await;
            return Err(Goodbye { why: "an encryption request inside TLS" });
        }
        _ => match startup(&packet) {
            Ok(startup) => startup,
            Err(refusal) => {
                goodbye(&mut stream, &refusal).await;
                return Err(Goodbye { why: "a start-up packet that is not allowed" });
            }
        },
    };
    if let Some(negotiation) = &startup.negotiation {
        let mut out = Vec::new();
        negotiate(&mut out, negotiation);
        stream.write_all(&out).await.map_err(|_| Goodbye { why: "the client left" })?;
    }
    let discovery = postgres.discovery.clone();
    let (credential, length) = match startup.method {
        Method::Password => password(&mut stream).await?,
        Method::Oauth => (oauth::bearer(&mut stream, discovery.as_deref()).await?, 0),
    };
    let target = TargetName::new(startup.database.clone()).or_else(|_| TargetName::new(NO_TARGET));
    let target = target.map_err(|_| Goodbye { why: "a target's name that is none" })?;
    Ok(PostgresHello {
        _greeting: greeting,
        target,
        stream,
        startup,
        place,
        credential,
        peer,
        prompt_cut: length == PSQL_PROMPT_BYTES,
        discovery,
    })
}

/// Until TLS stands. A client may ask for GSS encryption first, and then for TLS: two requests at most.
async fn first(postgres: &Postgres, mut stream: TcpStream) -> Result<First, Goodbye> {
    let gone = |_| Goodbye { why: "the client left" };
    // PostgreSQL 17's direct TLS starts with a TLS handshake record; no start-up packet can, its first byte is a length's.
    let mut byte = [0u8; 1];
    if stream.peek(&mut byte).await.map_err(gone)? == 0 {
        return Ok(First::Done(Goodbye { why: "the client left" }));
    }
    if byte == [0x16] {
        let tls = postgres.tls.accept(stream, Some(Alpn::Postgres)).await;
        let tls = tls.map_err(|_| Goodbye { why: "the TLS handshake failed" })?;
        // Without ALPN another protocol's bytes could be replayed at us (PostgreSQL requires it here, too).
        if tls.get_ref().1.alpn_protocol() != Some(b"postgresql") {
            return Ok(First::Done(Goodbye { why: "direct TLS without ALPN" }));
        }
        return Ok(First::Tls(Box::new(tls)));
    }
    for _ in 0..2 {
        let packet = packet(&mut stream).await?;
        match code(&packet) {
            Some(SSL_REQUEST) => {
                // Fails closed: whatever lies behind the request was sent in the clear and must not be read as protected.
                let mut behind = [0u8; 1];
                let early = std::future::poll_fn(|cx| {
                    let mut buffer = tokio::io::ReadBuf::new(&mut behind);
                    std::task::Poll::Ready(match stream.poll_peek(cx, &mut buffer) {
                        std::task::Poll::Ready(Ok(count)) => count > 0,
                        _ => false,
                    })
                })
                .await;
                if early {
                    return Ok(First::Done(Goodbye { why: "bytes before TLS" }));
                }
                stream.write_all(b"S").await.map_err(gone)?;
                let tls = postgres.tls.accept(stream, None).await;
                return tls
                    .map(|tls| First::Tls(Box::new(tls)))
                    .map_err(|_| Goodbye { why: "the TLS handshake failed" });
            }
            Some(GSSENC_REQUEST) => stream.write_all(b"N").await.map_err(gone)?,
            Some(CANCEL_REQUEST) => return Ok(First::Done(postgres.cancels.request(&packet).await)),
            _ => {
                let refusal = Refusal::new(RefusalCode::TlsRequired, "this gateway only accepts encrypted connections")
                    .hint("Connect with sslmode=require or stricter: your token must not cross the network in the clear.");
                goodbye(&mut stream, &refusal).await;
                return Ok(First::Done(Goodbye { why: "a start-up packet without TLS" }));
            }
        }
    }
    Ok(First::Done(Goodbye { why: "too many encryption requests" }))
}

/// Reads one packet without a type byte: its length, then the rest.
async fn packet<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, Goodbye> {
    let mut length = [0u8; 4];
    stream.read_exact(&mut length).await.map_err(|_| Goodbye { why: "the client left" })?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(8..=MAX_STARTUP_BYTES).contains(&length) {
        return Err(Goodbye { why: "a start-up packet of an impossible length" });
    }
    let mut packet = vec![0u8; length - 4];
    stream.read_exact(&mut packet).await.map_err(|_| Goodbye { why: "the client left" })?;
    Ok(packet)
}

fn code(packet: &[u8]) -> Option<u32> {
    packet.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

/// NegotiateProtocolVersion: the newest version that we speak, and the options that we do not know.
pub(super) fn negotiate(out: &mut Vec<u8>, negotiation: &Negotiation) {
    frame::message(out, b'v', |out| {
        out.extend_from_slice(&negotiation.version.to_be_bytes());
        out.extend_from_slice(&u32::try_from(negotiation.unknown.len()).unwrap_or(0).to_be_bytes());
        for option in &negotiation.unknown {
            out.extend_from_slice(option.as_bytes());
            out.push(0);
        }
    });
}

/// Asks for the cleartext password and reads it. Only the token's own buffer holds it, and that is wiped.
async fn password(stream: &mut ServerTls) -> Result<(Credential, usize), Goodbye> {
    let left = |_| Goodbye { why: "the client left" };
    let mut ask = Vec::with_capacity(9);
    frame::message(&mut ask, b'R', |out| out.extend_from_slice(&3u32.to_be_bytes()));
    stream.write_all(&ask).await.map_err(left)?;
    stream.flush().await.map_err(left)?;
    let message = credential_message(stream).await?;
    let token = Body::of(&message)
        .zero_terminated()
        .ok()
        .and_then(|token| std::str::from_utf8(token).ok())
        .map(str::to_owned);
    match token {
        Some(token) if !token.is_empty() => {
            let length = token.len();
            Ok((Credential::bearer(token), length))
        }
        _ => {
            let refusal = Refusal::new(RefusalCode::CredentialMissing, "no token was sent")
                .hint("Send your Microsoft Entra access token as the password, e.g. in PGPASSWORD.");
            goodbye(stream, &refusal).await;
            Err(Goodbye { why: "an empty password" })
        }
    }
}

/// A message of the client's login, bounded, and wiped when it goes.
pub(super) async fn credential_message(stream: &mut ServerTls) -> Result<Zeroizing<Vec<u8>>, Goodbye> {
    let left = |_| Goodbye { why: "the client left" };
    let mut header = [0u8; frame::HEADER_BYTES];
    stream.read_exact(&mut header).await.map_err(left)?;
    let frame = match Frame::at(&header) {
        Ok(Some(frame)) if frame.kind == b'p' && frame.total <= MAX_PASSWORD_BYTES => frame,
        _ => {
            let refusal = Refusal::new(RefusalCode::ProtocolViolation, "a password message was expected")
                .hint("Send your token as the password; it may be 16 KiB long at most.");
            goodbye(stream, &refusal).await;
            return Err(Goodbye { why: "no password message, or one too long" });
        }
    };
    let mut message = Zeroizing::new(vec![0u8; frame.total]);
    if let Some(body) = message.get_mut(frame::HEADER_BYTES..) {
        stream.read_exact(body).await.map_err(left)?;
    }
    Ok(message)
}
