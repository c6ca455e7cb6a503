//! What every native protocol has to do, and nothing more: word the steps of `gateway.rs` for its clients and targets.
//!
//! A protocol never decides. It gets an identity only from the identity module, a permit only from the grant module,
//! and a [`Session`] only from the gateway, and it can reach plugins, recorder and state through the session alone.
//!
//! The trait is shaped for three kinds of protocols: one session for each connection (PostgreSQL), a library that owns
//! the loop and asks for a verdict in the middle of its handshake (SSH: `greet` returns when the credential is there,
//! `admit` answers the waiting handler), and many requests on one connection, each with a credential (HTTP,
//! Kubernetes: a `Hello` is one request, and the gateway's steps run for each of them).

pub mod postgres;

use crate::identity::Credential;
use crate::listener::Connection;
use crate::session::{Session, SessionStop};
use crate::target::Lease;
use chaperone_core::name::TargetName;
use chaperone_core::refusal::Refusal;
use std::net::SocketAddr;

/// What a client wants, and the credential that shall prove who it is.
pub trait Hello {
    /// The target that it named. A text that cannot be a name becomes one that no target has, so that it is refused
    /// exactly like an unknown one.
    fn target(&self) -> TargetName;
    /// What it presented.
    fn credential(&self) -> &Credential;
    /// The role that it asks for on the target; only a wish.
    fn requested_role(&self) -> &str;
    /// Where it comes from.
    fn peer(&self) -> SocketAddr;
}

/// A conversation that ended before there was anything to decide, already answered as the protocol answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goodbye {
    /// For the debug log; never payload.
    pub why: &'static str,
}

/// A protocol: words for the steps of the path.
pub trait Protocol: Send + Sync + 'static {
    /// Its name in configuration and records.
    const NAME: &'static str;
    /// A client that has said what it wants and waits for an answer.
    type Hello: Hello;
    /// A target that has accepted the gateway's credential.
    type Dialled;
    /// Both, with the client admitted.
    type Link;

    /// Reads what the client wants and its credential, within the handshake's bounds.
    fn greet(&self, connection: Connection) -> impl Future<Output = Result<Self::Hello, Goodbye>>;

    /// Tells the client that it does not get in, in the protocol's words, and closes.
    fn refuse(&self, hello: Self::Hello, refusal: &Refusal) -> impl Future<Output = ()>;

    /// Connects to the target and authenticates there with the lease, and says when it was used. The refusal says which side
    /// failed and shows no credential.
    fn dial(
        &self,
        hello: &Self::Hello,
        lease: &Lease,
    ) -> impl Future<Output = Result<Self::Dialled, Refusal>>;

    /// Only now the client is told that it is in.
    fn admit(
        &self,
        hello: Self::Hello,
        dialled: Self::Dialled,
    ) -> impl Future<Output = Result<Self::Link, Goodbye>>;

    /// Carries the session until something ends it, and tells the client why.
    fn relay(&self, link: Self::Link, session: &mut Session) -> impl Future<Output = SessionStop>;
}
