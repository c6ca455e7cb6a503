//! Stands between the gateway and the target and passes everything on, byte by byte: to see what the target says, and
//! to say something in its name.
//!
//! The target itself is real. A proxy ends with the process of its test.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

/// A proxy that listens; it passes nothing on before it knows the target.
pub struct Proxy {
    /// Where the gateway finds it.
    pub address: SocketAddr,
    target: Arc<OnceLock<SocketAddr>>,
    passed: Arc<Mutex<Vec<Passed>>>,
    stalled: Arc<Mutex<Option<Vec<TcpStream>>>>,
    replaced: Arc<Mutex<Option<Replacement>>>,
}

/// What the target says, what is said in its place, and how often it was.
struct Replacement {
    from: Vec<u8>,
    to: Vec<u8>,
    count: usize,
}

/// One connection.
struct Passed {
    to_gateway: TcpStream,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    /// Listens.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (target, passed) = (Arc::<OnceLock<SocketAddr>>::default(), Arc::<Mutex<Vec<Passed>>>::default());
        let stalled = Arc::<Mutex<Option<Vec<TcpStream>>>>::default();
        let replaced = Arc::<Mutex<Option<Replacement>>>::default();
        let (known, all, stall) = (Arc::clone(&target), Arc::clone(&passed), Arc::clone(&stalled));
        let replace = Arc::clone(&replaced);
        thread::spawn(move || {
            for gateway in listener.incoming().map_while(Result::ok) {
                if let Some(kept) = lock(&stall).as_mut() {
                    kept.push(gateway);
                    continue;
                }
                // A connection that fails is the gateway's to tell of.
                let _ = pass(gateway, *known.wait(), &all, &replace);
            }
        });
        Ok(Proxy { address, target, passed, stalled, replaced })
    }

    /// Tells it where the target is, once.
    pub fn to(&self, target: SocketAddr) {
        let _ = self.target.set(target);
    }

    /// Everything that the target has said, connection by connection.
    pub fn said(&self) -> Vec<Vec<u8>> {
        lock(&self.passed).iter().map(|one| lock(&one.said).clone()).collect()
    }

    /// From now on, new connections are accepted and get no answer.
    pub fn stall(&self) {
        *lock(&self.stalled) = Some(Vec::new());
    }

    /// How many connections wait for an answer.
    pub fn waiting(&self) -> usize {
        lock(&self.stalled).as_ref().map_or(0, Vec::len)
    }

    /// From now on, says `to` wherever the target says `from`, which it has to say at once.
    pub fn replace(&self, from: &[u8], to: &[u8]) {
        *lock(&self.replaced) = Some(Replacement { from: from.to_vec(), to: to.to_vec(), count: 0 });
    }

    /// How often it has done so.
    pub fn replaced(&self) -> usize {
        lock(&self.replaced).as_ref().map_or(0, |replacement| replacement.count)
    }

    /// Says something in the target's name on the newest connection.
    pub fn say(&self, bytes: &[u8]) -> Result<()> {
        let passed = lock(&self.passed);
        let mut to_gateway = &passed.last().context("no connection")?.to_gateway;
        Ok(to_gateway.write_all(bytes)?)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replacement {
    fn of(&mut self, said: &[u8]) -> Option<Vec<u8>> {
        let at = said.windows(self.from.len()).position(|bytes| bytes == self.from)?;
        let (before, after) = (said.get(..at)?, said.get(at + self.from.len()..)?);
        self.count += 1;
        Some([before, &self.to, after].concat())
    }
}

fn pass(
    mut gateway: TcpStream,
    target: SocketAddr,
    all: &Mutex<Vec<Passed>>,
    replaced: &Arc<Mutex<Option<Replacement>>>,
) -> Result<()> {
    let mut server = TcpStream::connect(target)?;
    // Or the system would gather what is written byte by byte.
    gateway.set_nodelay(true)?;
    let said = Arc::<Mutex<Vec<u8>>>::default();
    lock(all).push(Passed { to_gateway: gateway.try_clone()?, said: Arc::clone(&said) });
    let replaced = Arc::clone(replaced);
    let (mut from_gateway, mut to_server) = (gateway.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_gateway, &mut to_server);
        let _ = to_server.shutdown(std::net::Shutdown::Write);
    });
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = server.read(&mut buffer) {
            let bytes = buffer.get(..count).unwrap_or_default();
            lock(&said).extend_from_slice(bytes);
            let other = lock(&replaced).as_mut().and_then(|replacement| replacement.of(bytes));
            let bytes = other.as_deref().unwrap_or(bytes);
            if bytes.iter().any(|byte| gateway.write_all(&[*byte]).is_err()) {
                break;
            }
        }
        let _ = gateway.shutdown(std::net::Shutdown::Both);
    });
    Ok(())
}
