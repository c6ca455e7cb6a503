//! The session that asks, as far as a plugin may know it.
//!
//! Inside the sandbox this is a resource of the host, lent for one call; in native tests it is a plain value
//! ([`SessionFacts`]), so that a policy can be tested without any Wasm.

use crate::bindings::lifecycle::chaperone::plugin::host;

pub use host::CallerKind;

/// The facts of a session, for native tests.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// `provider/tenant/object-id`.
    pub principal: String,
    /// What the token proved about the kind of caller.
    pub caller_kind: CallerKind,
    /// The target's name in the operator's configuration.
    pub target: String,
    /// Aliases of the groups that the caller was proved to be in.
    pub groups: Vec<String>,
    /// The role asked for on the target.
    pub requested_role: String,
}

impl Default for SessionFacts {
    fn default() -> Self {
        SessionFacts {
            principal: "test/tenant/agent".into(),
            caller_kind: CallerKind::Agent,
            target: "test-target".into(),
            groups: Vec::new(),
            requested_role: "app".into(),
        }
    }
}

/// The session that asks. Its facts are fetched from the host only when they are asked for.
#[derive(Debug)]
pub struct Session<'a>(Source<'a>);

#[derive(Debug)]
enum Source<'a> {
    Host(&'a host::Session),
    Facts(&'a SessionFacts),
}

impl<'a> From<&'a SessionFacts> for Session<'a> {
    fn from(facts: &'a SessionFacts) -> Self {
        Session(Source::Facts(facts))
    }
}

impl<'a> Session<'a> {
    /// Wraps the host's handle; for the export macros.
    #[doc(hidden)]
    pub fn from_host(handle: &'a host::Session) -> Self {
        Session(Source::Host(handle))
    }

    /// The stable name of the caller: `provider/tenant/object-id`.
    pub fn principal(&self) -> String {
        match self.0 {
            Source::Host(handle) => handle.principal(),
            Source::Facts(facts) => facts.principal.clone(),
        }
    }

    /// What the token proved about the kind of caller. Treat `Unknown` as the least trusted.
    pub fn caller_kind(&self) -> CallerKind {
        match self.0 {
            Source::Host(handle) => handle.caller_kind(),
            Source::Facts(facts) => facts.caller_kind,
        }
    }

    /// The target's name in the operator's configuration.
    pub fn target(&self) -> String {
        match self.0 {
            Source::Host(handle) => handle.target(),
            Source::Facts(facts) => facts.target.clone(),
        }
    }

    /// Aliases of the groups that the caller was proved to be in, as far as policy names them.
    pub fn groups(&self) -> Vec<String> {
        match self.0 {
            Source::Host(handle) => handle.groups(),
            Source::Facts(facts) => facts.groups.clone(),
        }
    }

    /// The role asked for on the target, e.g. the PostgreSQL user name that the client sent.
    pub fn requested_role(&self) -> String {
        match self.0 {
            Source::Host(handle) => handle.requested_role(),
            Source::Facts(facts) => facts.requested_role.clone(),
        }
    }
}
