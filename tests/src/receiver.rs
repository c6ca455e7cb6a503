//! What takes POSTs as a SIEM's collector does, and dies when it is told to: in the middle of a request, and with its port closed.

use anyhow::Result;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A receiver; gone with its bodies' last holder, or when it dies.
pub struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<String>>>,
    dead: CancellationToken,
}

impl Receiver {
    /// Starts one on a free port, or where one was before. It takes so many requests; the next one it takes, too, and is
    /// gone before it answers.
    pub async fn start(at: Option<SocketAddr>, answers: usize) -> Result<Self> {
        let listener = TcpListener::bind(at.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)))).await?;
        let (address, got, dead) = (listener.local_addr()?, Arc::default(), CancellationToken::new());
        let receiver = Receiver { address, got, dead: dead.clone() };
        let got = Arc::clone(&receiver.got);
        let serve = async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&got), answers, dead.clone()));
            }
        };
        let dead = receiver.dead.clone();
        tokio::spawn(async move { dead.run_until_cancelled(serve).await });
        Ok(receiver)
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bodies that came.
    pub fn got(&self) -> Vec<String> {
        self.got.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.dead.cancel();
    }
}

/// One connection, request by request.
async fn serve(
    mut stream: TcpStream,
    got: Arc<Mutex<Vec<String>>>,
    answers: usize,
    dead: CancellationToken,
) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break String::from_utf8(bytes.drain(..end + 4).collect()).ok()?;
            }
            stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
        };
        let mut headers = head.lines().filter_map(|line| line.split_once(": "));
        let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?.1;
        let length: usize = length.parse().ok()?;
        while bytes.len() < length {
            stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
        }
        let body = String::from_utf8(bytes.drain(..length).collect()).ok()?;
        let count = {
            let mut got = got.lock().unwrap_or_else(PoisonError::into_inner);
            got.push(body);
            got.len()
        };
        if count > answers {
            dead.cancel();
            return None;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.ok()?;
    }
}
