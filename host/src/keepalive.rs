//! What finds out that the other side of a connection is gone without a word: a host that lost its power, a firewall that
//! forgot the connection.
//!
//! Without it, a session whose client is gone would stay until its window ends, and a statement at a target that is gone would be
//! waited for as long. What may go wrong: a system that does not take the settings; then the connection works all the same, and its
//! own times count.

use socket2::{SockRef, TcpKeepalive};
use std::time::Duration;
use tokio::net::TcpStream;

/// Silence after which the other side is asked whether it is there.
const IDLE: Duration = Duration::from_secs(60);

/// How long between questions that are not answered. After nine of them, Linux's own number, it counts as gone.
const INTERVAL: Duration = Duration::from_secs(10);

/// Asks the other side from time to time whether it is there (RFC 9293, section 3.8.4).
pub fn keep_alive(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(IDLE).with_interval(INTERVAL);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "a connection is not asked whether it is alive");
    }
}
