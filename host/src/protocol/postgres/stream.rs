//! A connection to a target, with or without TLS, as one type.

use crate::tls::ClientTls;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection to a target.
pub(super) enum TargetStream {
    /// Loopback, when configuration says so.
    Plain(TcpStream),
    /// The certificate was verified.
    Tls(Box<ClientTls>),
}

impl AsyncRead for TargetStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            TargetStream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            TargetStream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for TargetStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            TargetStream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            TargetStream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            TargetStream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            TargetStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            TargetStream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            TargetStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
