//! A small PostgreSQL client that sends what it is told to, right or wrong: frames made by hand, over TLS.
//!
//! Drivers are too well-behaved for attacks. Every read has a time limit, so that a gateway that hangs fails a test
//! instead of stopping it.

use anyhow::{Context, Result, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may take; far more than any does, except one that never comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// SSLRequest.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// GSSENCRequest.
pub const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

/// A message of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u8,
    /// What comes after the length.
    pub body: Vec<u8>,
}

impl Message {
    /// The body as text, zero bytes shown as spaces.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).replace('\0', " ")
    }
}

/// Types and texts of messages, for failing assertions.
pub fn kinds(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.kind)).collect()
}

/// All texts of messages in one.
pub fn texts(messages: &[Message]) -> String {
    let text = |message: &Message| format!("{}: {}", char::from(message.kind), message.text());
    messages.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// Builds a message.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn with_zero(parts: &[&str]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.bytes().chain([0])).collect()
}

/// Query.
pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &with_zero(&[sql]))
}

/// Parse, without parameter types.
pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    let mut body = with_zero(&[name, sql]);
    body.extend_from_slice(&[0, 0]);
    message(b'P', &body)
}

/// Bind with text parameters, results as text.
pub fn bind(portal: &str, statement: &str, parameters: &[&str]) -> Vec<u8> {
    let mut body = with_zero(&[portal, statement]);
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&u16::try_from(parameters.len()).unwrap_or(0).to_be_bytes());
    for value in parameters {
        body.extend_from_slice(&u32::try_from(value.len()).unwrap_or(0).to_be_bytes());
        body.extend_from_slice(value.as_bytes());
    }
    body.extend_from_slice(&[0, 0]);
    message(b'B', &body)
}

/// Describe: `S` a statement, `P` a portal.
pub fn describe(kind: char, name: &str) -> Vec<u8> {
    message(b'D', &with_zero(&[&format!("{kind}{name}")]))
}

/// Close.
pub fn close(kind: char, name: &str) -> Vec<u8> {
    message(b'C', &with_zero(&[&format!("{kind}{name}")]))
}

/// Execute, at most `rows` of them; 0 for all.
pub fn execute(portal: &str, rows: u32) -> Vec<u8> {
    let mut body = with_zero(&[portal]);
    body.extend_from_slice(&rows.to_be_bytes());
    message(b'E', &body)
}

/// Sync.
pub fn sync() -> Vec<u8> {
    message(b'S', &[])
}

/// Flush.
pub fn flush() -> Vec<u8> {
    message(b'H', &[])
}

/// A start-up packet.
pub fn startup(version: u32, settings: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in settings {
        body.extend(with_zero(&[name, value]));
    }
    body.push(0);
    packet(&body)
}

/// A packet without a type.
pub fn packet(body: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

/// A connection, at whatever stage.
pub struct Wire<S = StreamOwned<ClientConnection, TcpStream>> {
    /// The bytes.
    pub stream: S,
    /// Process and secret of BackendKeyData.
    pub key: Vec<u8>,
}

/// Plain TCP to the gateway.
pub fn tcp(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// TLS on a connection; `alpn` as PostgreSQL 17's direct TLS needs it.
pub fn tls(
    stream: TcpStream,
    certificate: &Path,
    alpn: bool,
) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    chaperone::tls::install_provider();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    if alpn {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    Ok(StreamOwned::new(connection, stream))
}

impl Wire {
    /// Up to TLS, nothing sent in it.
    pub fn encrypted(address: SocketAddr, certificate: &Path) -> Result<Wire> {
        let mut stream = tcp(address)?;
        stream.write_all(&SSL_REQUEST)?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        if answer != *b"S" {
            bail!("no TLS: {answer:?}");
        }
        Ok(Wire { stream: tls(stream, certificate, false)?, key: Vec::new() })
    }

    /// Logged in to `shop`.
    pub fn login(address: SocketAddr, certificate: &Path, token: &str) -> Result<Wire> {
        let mut wire = Wire::encrypted(address, certificate)?;
        wire.send(&startup(3 << 16, &[("user", "app"), ("database", "shop")]))?;
        wire.until(b"R")?;
        wire.send(&message(b'p', &with_zero(&[token])))?;
        let answers = wire.until(b"ZE")?;
        if answers.last().is_some_and(|last| last.kind == b'E') {
            bail!("refused: {}", texts(&answers));
        }
        wire.key = answers.iter().find(|one| one.kind == b'K').context("no key")?.body.clone();
        Ok(wire)
    }
}

impl<S: Read + Write> Wire<S> {
    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()?;
        Ok(())
    }

    /// One message; none when the connection was closed.
    pub fn read(&mut self) -> Result<Option<Message>> {
        let mut header = [0u8; 5];
        match self.stream.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("no answer in {PATIENCE:?}")
            }
            Err(_) => return Ok(None),
        }
        let [kind, length @ ..] = header;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        let mut body = vec![0; length.checked_sub(4).context("a length below 4")?];
        self.stream.read_exact(&mut body)?;
        Ok(Some(Message { kind, body }))
    }

    /// Messages up to the first of one of these kinds, or to the end of the connection.
    pub fn until(&mut self, kinds: &[u8]) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        while let Some(message) = self.read()? {
            let last = kinds.contains(&message.kind);
            messages.push(message);
            if last {
                break;
            }
        }
        Ok(messages)
    }

    /// Sends, and reads `count` times up to ReadyForQuery, or to the end of the connection.
    pub fn ask(&mut self, bytes: &[u8], count: usize) -> Result<Vec<Message>> {
        self.send(bytes)?;
        let mut messages = Vec::new();
        for _ in 0..count {
            let more = self.until(b"Z")?;
            let over = more.last().is_none_or(|last| last.kind != b'Z');
            messages.extend(more);
            if over {
                break;
            }
        }
        Ok(messages)
    }

    /// A simple query.
    pub fn sql(&mut self, sql: &str) -> Result<Vec<Message>> {
        self.ask(&query(sql), 1)
    }
}
