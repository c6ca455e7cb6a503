//! A server that is not the target: no real one lies, so this one is made by hand.
//!
//! It speaks as much of the protocol as its lie needs (PostgreSQL manual, "Message Flow" and "SASL Authentication";
//! RFC 5802), and tells what it was told, so that a test can look for the password in it.

use chaperone_tests::wire::message;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// What it does in place of what a PostgreSQL would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// A SCRAM exchange whose last message is signed by somebody who does not know the password.
    WrongProof,
    /// A SCRAM exchange that ends without the server's signature.
    NoProof,
    /// The client is let in without any question.
    NoQuestion,
    /// The password is asked for as an MD5 hash.
    Md5,
    /// The password is asked for as it is.
    Cleartext,
    /// So many rounds of hashing that the gateway would do nothing else.
    EndlessRounds,
    /// TLS is refused.
    NoTls,
    /// TLS is granted, and behind that stands a login in the clear, to be read as if it had been protected
    /// (CVE-2021-23222).
    BehindTls,
    /// Another protocol.
    NotPostgres,
    /// The connection is accepted, and nothing is said.
    Silent,
}

/// The server, and everything that each of its clients sent, once that client is gone.
pub(super) struct FalseServer {
    /// Where it listens.
    pub(super) address: SocketAddr,
    heard: Receiver<Vec<u8>>,
}

impl FalseServer {
    /// Listens until the test's process ends.
    pub(super) fn start(lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tell: Sender<Vec<u8>> = tell.clone();
                thread::spawn(move || {
                    let mut client = Client { stream, heard: Vec::new() };
                    // It ends when the gateway has closed.
                    let _ = client.lie(lie);
                    let _ = client.stream.read_to_end(&mut client.heard);
                    let _ = tell.send(client.heard);
                });
            }
        });
        FalseServer { address, heard }
    }

    /// What the next client sent from its first byte to its last.
    pub(super) fn heard(&self) -> Vec<u8> {
        self.heard.recv_timeout(std::time::Duration::from_secs(20)).unwrap()
    }
}

struct Client {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Client {
    fn lie(&mut self, lie: Lie) -> std::io::Result<()> {
        match lie {
            Lie::Silent => return Ok(()),
            Lie::NotPostgres => {
                self.read(8)?;
                return self.stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            }
            Lie::NoTls => {
                self.read(8)?;
                return self.stream.write_all(b"N");
            }
            Lie::BehindTls => {
                self.read(8)?;
                let login = [message(b'R', &[0; 4]), message(b'K', &[1; 8]), message(b'Z', b"I")].concat();
                return self.stream.write_all(&[b"S".as_slice(), &login].concat());
            }
            _ => {}
        }
        let length = self.read(4)?;
        self.read(length_of(&length) - 4)?;
        match lie {
            Lie::NoQuestion => {}
            Lie::Md5 => {
                self.authentication(5, b"salt")?;
                self.answer()?;
            }
            Lie::Cleartext => {
                self.authentication(3, b"")?;
                self.answer()?;
            }
            _ => self.scram(lie)?,
        }
        self.authentication(0, b"")?;
        for (name, value) in [("server_version", "18.0"), ("client_encoding", "UTF8")] {
            self.stream.write_all(&message(b'S', format!("{name}\0{value}\0").as_bytes()))?;
        }
        self.stream.write_all(&message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]))?;
        self.stream.write_all(&message(b'Z', b"I"))
    }

    fn scram(&mut self, lie: Lie) -> std::io::Result<()> {
        self.authentication(10, b"SCRAM-SHA-256\0\0")?;
        let first = String::from_utf8_lossy(&self.answer()?).into_owned();
        let nonce = first.split_once("r=").map(|(_, nonce)| nonce.to_owned()).unwrap_or_default();
        let rounds = if lie == Lie::EndlessRounds { u32::MAX } else { 4096 };
        // "salt of 16 bytes" in base64.
        let challenge = format!("r={nonce}MadeUpHere,s=c2FsdCBvZiAxNiBieXRlcw==,i={rounds}");
        self.authentication(11, challenge.as_bytes())?;
        self.answer()?;
        if lie == Lie::NoProof {
            return Ok(());
        }
        // 32 zero bytes in base64: of the right form, and nobody's signature.
        self.authentication(12, format!("v={}=", "A".repeat(43)).as_bytes())
    }

    fn authentication(&mut self, code: u32, rest: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(&message(b'R', &[&code.to_be_bytes(), rest].concat()))
    }

    /// The body of a message of the client.
    fn answer(&mut self) -> std::io::Result<Vec<u8>> {
        let header = self.read(5)?;
        self.read(length_of(&header[1..]) - 4)
    }

    fn read(&mut self, count: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        self.heard.extend_from_slice(&bytes);
        Ok(bytes)
    }
}

fn length_of(bytes: &[u8]) -> usize {
    u32::from_be_bytes(bytes.try_into().unwrap()) as usize
}
