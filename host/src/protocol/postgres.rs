//! PostgreSQL: frontend/backend protocol 3 in front of, and to, a real server.
//!
//! `greet.rs` reads what the client wants (`startup.rs`, `oauth.rs`), `dial.rs` logs in to the target, `admit.rs` tells the client that it is in,
//! `relay.rs` carries the session, `refuse.rs` words errors, `cancel.rs` routes cancel requests, `catalog.rs` knows
//! which column an OID means, `roles.rs` makes and removes the roles of sessions, `frame.rs` walks messages, `render.rs` makes
//! recorded ones readable.

mod admit;
mod cancel;
mod catalog;
mod dial;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod greet;
mod oauth;
mod refuse;
mod relay;
pub(crate) mod render;
mod roles;
mod settings;
mod startup;
mod stream;

use super::{Goodbye, Protocol};
use crate::listener::Connection;
use crate::session::{Session, SessionStop};
use crate::target::Lease;
use crate::tls::TlsServer;
use chaperone_core::refusal::Refusal;
use std::sync::Arc;

pub use greet::PostgresHello;
pub use oauth::Discovery;
pub use roles::Keeper;

/// The PostgreSQL protocol.
pub struct Postgres {
    tls: Arc<TlsServer>,
    cancels: Arc<cancel::CancelRegistry>,
    catalogs: Arc<catalog::Catalogs>,
    discovery: Option<Arc<Discovery>>,
}

impl Postgres {
    /// With the gateway's certificate, and where clients by OAUTHBEARER may get a token; `runtime` is where catalog look-ups run.
    pub fn new(tls: Arc<TlsServer>, discovery: Option<Discovery>, runtime: tokio::runtime::Handle) -> Self {
        Postgres {
            tls,
            discovery: discovery.map(Arc::new),
            cancels: Arc::new(cancel::CancelRegistry::default()),
            catalogs: Arc::new(catalog::Catalogs::new(runtime)),
        }
    }
}

impl Protocol for Postgres {
    const NAME: &'static str = "postgres";
    type Hello = greet::PostgresHello;
    type Dialled = dial::Dialled;
    type Link = relay::Link;

    async fn greet(&self, connection: Connection) -> Result<Self::Hello, Goodbye> {
        greet::greet(self, connection).await
    }

    async fn refuse(&self, hello: Self::Hello, refusal: &Refusal) {
        hello.refuse(refusal).await;
    }

    async fn dial(&self, hello: &Self::Hello, lease: &Lease) -> Result<Self::Dialled, Refusal> {
        dial::dial(hello, lease, &self.catalogs).await
    }

    async fn admit(&self, hello: Self::Hello, dialled: Self::Dialled) -> Result<Self::Link, Goodbye> {
        admit::admit(hello, dialled, &self.cancels).await
    }

    async fn relay(&self, link: Self::Link, session: &mut Session) -> SessionStop {
        relay::relay(link, session).await
    }
}
