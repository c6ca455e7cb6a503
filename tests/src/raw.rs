//! The PostgreSQL protocol by hand: for what no driver sends, and for looking at every byte that a client gets.
//!
//! A test writes messages with [`Out`] and reads answers as [`Message`]s. [`shape`] puts a whole answer into one line, so
//! that a test can say what has to come, in which order.

use crate::stage::Stage;
use anyhow::{Context, Result, bail, ensure};
use chaperone::tls::{ClientTls, TlsClient};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Ends a hang; nothing that is waited for here takes so long.
const LIMIT: Duration = Duration::from_secs(45);

/// One message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type byte.
    pub kind: u8,
    /// What follows its length.
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an ErrorResponse or NoticeResponse, such as `b'C'`.
    pub fn field(&self, field: u8) -> Option<String> {
        let mut rest = self.body.as_slice();
        while let Some((kind, tail)) = rest.split_first().filter(|(kind, _)| **kind != 0) {
            let end = tail.iter().position(|byte| *byte == 0)?;
            let (text, tail) = tail.split_at_checked(end)?;
            if *kind == field {
                return Some(String::from_utf8_lossy(text).into_owned());
            }
            rest = tail.get(1..)?;
        }
        None
    }

    /// The values of a DataRow.
    pub fn values(&self) -> Vec<Option<Vec<u8>>> {
        let mut values = Vec::new();
        let mut rest = self.body.get(2..).unwrap_or_default();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            match usize::try_from(i32::from_be_bytes(*length)) {
                Err(_) => {
                    values.push(None);
                    rest = tail;
                }
                Ok(length) => {
                    let (value, tail) = tail.split_at_checked(length).unwrap_or((tail, &[]));
                    values.push(Some(value.to_vec()));
                    rest = tail;
                }
            }
        }
        values
    }

    /// The values of a DataRow as text, joined by `|`; NULL is `~`.
    pub fn row(&self) -> String {
        let text =
            |value: Option<Vec<u8>>| value.map_or("~".into(), |v| String::from_utf8_lossy(&v).into_owned());
        self.values().into_iter().map(text).collect::<Vec<_>>().join("|")
    }
}

/// Bytes that a client got, as the messages that they are; what is cut off at the end is left out.
pub fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some((message, rest)) = first(bytes) {
        messages.push(message);
        bytes = rest;
    }
    messages
}

/// The first message, if it is there as a whole, and what follows it.
fn first(bytes: &[u8]) -> Option<(Message, &[u8])> {
    let ([kind, length @ ..], rest) = bytes.split_first_chunk::<5>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?.checked_sub(4)?;
    let (body, rest) = rest.split_at_checked(length)?;
    Some((Message { kind: *kind, body: body.to_vec() }, rest))
}

/// An answer in one line: type bytes, errors with SQLSTATE, ReadyForQuery with the transaction's state: `1 2 E:42501 ZI`.
/// Rows and notices that follow each other count once.
pub fn shape(messages: &[Message]) -> String {
    let mut line = String::new();
    let mut last = 0;
    for message in messages {
        if message.kind == last && matches!(last, b'D' | b'N' | b'd') {
            continue;
        }
        last = message.kind;
        let kind = char::from(message.kind);
        let _ = match message.kind {
            b'E' => write!(line, " E:{}", message.field(b'C').unwrap_or_default()),
            b'Z' => write!(line, " Z{}", message.body.first().map_or('?', |state| char::from(*state))),
            // A setting that is reported is no answer.
            b'S' => Ok(()),
            _ => write!(line, " {kind}"),
        };
    }
    line.trim_start().to_owned()
}

/// All rows of an answer, as [`Message::row`] shows them.
pub fn rows(messages: &[Message]) -> Vec<String> {
    messages.iter().filter(|message| message.kind == b'D').map(Message::row).collect()
}

/// All texts of errors of an answer: message, detail, hint.
pub fn errors(messages: &[Message]) -> String {
    let mut text = String::new();
    for message in messages.iter().filter(|message| message.kind == b'E') {
        for field in *b"MDH" {
            if let Some(part) = message.field(field) {
                let _ = write!(text, "{part} ");
            }
        }
    }
    text
}

/// Messages of a client, written one after the other and sent together.
#[derive(Debug, Default, Clone)]
pub struct Out(Vec<u8>);

impl Out {
    /// Nothing yet.
    pub fn new() -> Self {
        Out::default()
    }

    /// Any message.
    #[must_use]
    pub fn message(mut self, kind: u8, body: &[u8]) -> Self {
        self.0.push(kind);
        self.0.extend_from_slice(&u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
        self.0.extend_from_slice(body);
        self
    }

    /// Query.
    #[must_use]
    pub fn query(self, sql: &str) -> Self {
        self.message(b'Q', &zero_terminated(&[sql]))
    }

    /// Parse.
    #[must_use]
    pub fn parse(self, name: &str, sql: &str) -> Self {
        let mut body = zero_terminated(&[name, sql]);
        body.extend_from_slice(&[0, 0]);
        self.message(b'P', &body)
    }

    /// Bind with text parameters; `formats` are those of the result.
    #[must_use]
    pub fn bind(self, portal: &str, statement: &str, parameters: &[&str], formats: &[u16]) -> Self {
        let mut body = zero_terminated(&[portal, statement]);
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&u16::try_from(parameters.len()).unwrap_or(u16::MAX).to_be_bytes());
        for parameter in parameters {
            body.extend_from_slice(&u32::try_from(parameter.len()).unwrap_or(u32::MAX).to_be_bytes());
            body.extend_from_slice(parameter.as_bytes());
        }
        body.extend_from_slice(&u16::try_from(formats.len()).unwrap_or(u16::MAX).to_be_bytes());
        for format in formats {
            body.extend_from_slice(&format.to_be_bytes());
        }
        self.message(b'B', &body)
    }

    /// Describe; `kind` is `b'S'` or `b'P'`.
    #[must_use]
    pub fn describe(self, kind: u8, name: &str) -> Self {
        let mut body = vec![kind];
        body.extend_from_slice(&zero_terminated(&[name]));
        self.message(b'D', &body)
    }

    /// Close.
    #[must_use]
    pub fn close(self, kind: u8, name: &str) -> Self {
        let mut body = vec![kind];
        body.extend_from_slice(&zero_terminated(&[name]));
        self.message(b'C', &body)
    }

    /// Execute to the end.
    #[must_use]
    pub fn execute(self, portal: &str) -> Self {
        let mut body = zero_terminated(&[portal]);
        body.extend_from_slice(&0u32.to_be_bytes());
        self.message(b'E', &body)
    }

    /// Parse, Bind and Execute of the unnamed statement.
    #[must_use]
    pub fn run(self, sql: &str, parameters: &[&str]) -> Self {
        self.parse("", sql).bind("", "", parameters, &[]).execute("")
    }

    /// Sync.
    #[must_use]
    pub fn sync(self) -> Self {
        self.message(b'S', &[])
    }
}

fn zero_terminated(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| text.bytes().chain([0])).collect()
}

/// How a login ended.
pub enum Login {
    /// The client is in.
    In(Box<Wire>),
    /// It is not: every byte that it got after its password.
    Refused(Vec<u8>),
}

/// A client that is in.
pub struct Wire {
    stream: ClientTls,
    /// Every byte that the client got so far, decrypted.
    pub seen: Vec<u8>,
    at: usize,
    /// The process id and the secret that a cancel request needs.
    pub key: [u8; 8],
}

/// Asks for TLS and gets it.
pub async fn tls(stage: &Stage) -> Result<ClientTls> {
    let mut stream = TcpStream::connect(stage.address).await?;
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await?;
    ensure!(answer == *b"S", "TLS was refused: {answer:?}");
    let trusted = TlsClient::trusting(&stage.path("gateway.pem"))?;
    Ok(trusted.connect("127.0.0.1", stream).await?)
}

/// Asks at `address` to cancel what the client with this key runs.
pub async fn cancel(address: SocketAddr, key: impl AsRef<[u8]>) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let key = key.as_ref();
    let mut packet = u32::try_from(8 + key.len())?.to_be_bytes().to_vec();
    packet.extend_from_slice(&[4, 210, 22, 46]);
    packet.extend_from_slice(key);
    stream.write_all(&packet).await?;
    // The server answers by closing.
    stream.read_to_end(&mut packet).await?;
    Ok(())
}

impl Wire {
    /// Logs in to `shop`, which has to work.
    pub async fn connect(stage: &Stage, token: &str) -> Result<Self> {
        match Wire::login(stage, token, "shop", &[]).await? {
            Login::In(wire) => Ok(*wire),
            Login::Refused(said) => bail!("not let in: {}", String::from_utf8_lossy(&said)),
        }
    }

    /// Logs in, or does not.
    pub async fn login(stage: &Stage, token: &str, database: &str, more: &[(&str, &str)]) -> Result<Login> {
        let mut stream = tls(stage).await?;
        let mut texts = vec!["user", "app", "database", database];
        texts.extend(more.iter().flat_map(|(name, value)| [*name, *value]));
        let mut body = 196_608u32.to_be_bytes().to_vec();
        body.extend_from_slice(&zero_terminated(&texts));
        body.push(0);
        let mut out = u32::try_from(body.len() + 4)?.to_be_bytes().to_vec();
        out.extend_from_slice(&body);
        stream.write_all(&out).await?;
        let mut wire = Wire { stream, seen: Vec::new(), at: 0, key: [0; 8] };
        let first = wire.next().await?.context("closed before it asked for a password")?;
        if first.kind != b'R' {
            return Ok(Login::Refused(wire.seen));
        }
        wire.send(Out::new().message(b'p', &zero_terminated(&[token]))).await?;
        let prompt = wire.at;
        loop {
            match wire.next().await? {
                Some(message) if message.kind == b'K' => wire.key.copy_from_slice(&message.body),
                Some(message) if message.kind == b'Z' => return Ok(Login::In(Box::new(wire))),
                Some(_) => {}
                None => return Ok(Login::Refused(wire.seen.split_off(prompt))),
            }
        }
    }

    /// Sends messages.
    pub async fn send(&mut self, out: Out) -> Result<()> {
        self.stream.write_all(&out.0).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next message; none when the server has closed.
    pub async fn next(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some((message, rest)) = first(self.seen.get(self.at..).unwrap_or_default()) {
                self.at = self.seen.len() - rest.len();
                return Ok(Some(message));
            }
            let mut buffer = [0; 16 * 1024];
            let read = tokio::time::timeout(LIMIT, self.stream.read(&mut buffer)).await;
            match read.context("the gateway says nothing")? {
                // Without a TLS goodbye, too: a client takes both for the end.
                Ok(0) | Err(_) => return Ok(None),
                Ok(count) => self.seen.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
        }
    }

    /// Everything up to ReadyForQuery, or to the end of the connection.
    pub async fn answer(&mut self) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        while let Some(message) = self.next().await? {
            let ready = message.kind == b'Z';
            messages.push(message);
            if ready {
                break;
            }
        }
        Ok(messages)
    }

    /// Sends, and reads the answer.
    pub async fn ask(&mut self, out: Out) -> Result<Vec<Message>> {
        self.send(out).await?;
        self.answer().await
    }

    /// Runs one simple query.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Message>> {
        self.ask(Out::new().query(sql)).await
    }

    /// Reads until a message of this type.
    pub async fn until(&mut self, kind: u8) -> Result<Message> {
        while let Some(message) = self.next().await? {
            if message.kind == kind {
                return Ok(message);
            }
        }
        bail!("closed before a message of type {:?}", char::from(kind))
    }
}

/// A real driver, through the gateway.
pub async fn tokio_postgres(stage: &Stage, token: &str) -> Result<tokio_postgres::Client> {
    let stream = tls(stage).await?;
    let mut config = tokio_postgres::Config::new();
    config.user("app").dbname("shop").password(token).ssl_mode(tokio_postgres::config::SslMode::Disable);
    let (client, connection) = config.connect_raw(stream, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
