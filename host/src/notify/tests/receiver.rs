//! A receiver over HTTPS on this machine, which answers as it is told.

use crate::target::SecretSource;
use crate::tls::TlsServer;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How it answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// With a status and headers.
    Head(u16, String),
    /// With a body of a gigabyte, as much of it as is read.
    Flood,
}

/// What it got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Got {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A running receiver.
pub(crate) struct Receiver {
    /// With a secret in it, as the URLs of Slack and Teams have one.
    pub(crate) url: String,
    /// The authority of its certificate.
    pub(crate) ca: tempfile::NamedTempFile,
    pub(crate) flooded: Arc<AtomicU64>,
    tls: Arc<TlsServer>,
    got: Arc<Mutex<Vec<Got>>>,
    answer: Arc<Mutex<Answer>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Receiver::start_with(Arc::new(TlsServer::self_signed().unwrap())).await
    }

    /// Another one, which whoever trusts this one trusts as well.
    pub(crate) async fn beside(&self) -> Self {
        Receiver::start_with(self.tls.clone()).await
    }

    async fn start_with(tls: Arc<TlsServer>) -> Self {
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), tls.certificate_pem().as_bytes()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/services/in?sig=hunter2", listener.local_addr().unwrap());
        let (got, answer) = (Arc::default(), Arc::new(Mutex::new(Answer::Head(200, String::new()))));
        let receiver = Receiver { url, ca, flooded: Arc::default(), tls: tls.clone(), got, answer };
        let (got, answer, flooded) =
            (receiver.got.clone(), receiver.answer.clone(), receiver.flooded.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, got, answer) = (tls.clone(), got.clone(), answer.clone());
                let flooded = flooded.clone();
                tokio::spawn(async move { serve(&tls, stream, &got, &answer, &flooded).await });
            }
        });
        receiver
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub(crate) fn status(&self, status: u16) {
        self.answers(Answer::Head(status, String::new()));
    }

    /// Everything that came so far.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    pub(crate) fn secret_url(&self) -> Box<dyn SecretSource> {
        Box::new(Fixed(self.url.clone()))
    }
}

/// A secret that stands still.
pub(crate) struct Fixed(pub(crate) String);

impl SecretSource for Fixed {
    fn read(&self) -> Result<SecretString, String> {
        Ok(self.0.clone().into())
    }
}

/// One request of one connection. A client that does not come through the handshake was here for nothing.
async fn serve(
    tls: &TlsServer,
    stream: TcpStream,
    got: &Mutex<Vec<Got>>,
    answer: &Mutex<Answer>,
    flooded: &AtomicU64,
) -> Option<()> {
    let mut stream = tls.accept(stream, None).await.ok()?;
    let mut text = Vec::new();
    let head = loop {
        if let Some(end) = memchr::memmem::find(&text, b"\r\n\r\n") {
            break String::from_utf8(text.drain(..end + 4).collect()).unwrap();
        }
        stream.read_buf(&mut text).await.ok().filter(|read| *read > 0)?;
    };
    let mut lines = head.lines();
    lines.next()?;
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    while text.len() < length {
        stream.read_buf(&mut text).await.ok().filter(|read| *read > 0)?;
    }
    got.lock().unwrap().push(Got { headers, body: text });
    let answer = answer.lock().unwrap().clone();
    let (status, headers, body) = match answer {
        Answer::Head(status, headers) => (status, headers, 0),
        Answer::Flood => (200, String::new(), 1 << 30),
    };
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {body}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let chunk = vec![b'x'; 64 * 1024];
    for _ in 0..body / chunk.len() {
        stream.write_all(&chunk).await.ok()?;
        flooded.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
    stream.shutdown().await.ok()
}
