//! Who may see and do what in the console: the one place that says it.
//!
//! A page or an action asks for a [`May`] of its kind, which only this module makes, and only for who may. Where that is
//! missing, the answer is the one for what does not exist. What somebody may decide is not a matter of roles: each approval
//! says it, by the grant module's rules.
//!
//! Roles are looked up at each request, so that who has lost one has lost it at once.

use super::Console;
use super::pages;
use super::visitor::Visitor;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use chaperone_core::grant::Match;
use std::marker::PhantomData;
use std::ops::Deref;

/// What somebody is here, beside a person who may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Roles {
    /// Sees everything and ends what runs.
    pub(super) operator: bool,
    /// Sees everything, and thereby changes nothing.
    pub(super) auditor: bool,
}

/// Something that may be done here.
pub(super) trait Action {
    /// Whether who has these roles may do it.
    fn is_for(roles: Roles) -> bool;
}

/// Sees what waits for them and decides on it: all who could sign in.
pub(super) struct Answer;
/// Sees what is not theirs: what runs, the policy, numbers.
pub(super) struct Watch;
/// Ends sessions and windows of others.
pub(super) struct Steer;

impl Action for Answer {
    fn is_for(_: Roles) -> bool {
        true
    }
}

impl Action for Watch {
    fn is_for(roles: Roles) -> bool {
        roles.operator || roles.auditor
    }
}

impl Action for Steer {
    fn is_for(roles: Roles) -> bool {
        roles.operator
    }
}

/// Somebody who is signed in and may do this.
pub(super) struct May<A> {
    visitor: Visitor,
    action: PhantomData<A>,
}

impl<A> Deref for May<A> {
    type Target = Visitor;

    fn deref(&self) -> &Visitor {
        &self.visitor
    }
}

impl<A: Action> FromRequestParts<Console> for May<A> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        let visitor = Visitor::from_request_parts(parts, console).await?;
        // Fails closed: without the role there is nothing here.
        if !A::is_for(visitor.roles) {
            return Err(pages::not_found().into_response());
        }
        Ok(May { visitor, action: PhantomData })
    }
}

impl Roles {
    /// What the policy of the moment says of somebody.
    pub(super) fn of(console: &Console, identity: &crate::identity::Identity) -> Self {
        let operator = console.grants.is_operator(identity) == Match::Proved;
        let auditor = !operator && console.grants.sees_everything(identity) == Match::Proved;
        Roles { operator, auditor }
    }

    /// In a word, for the person.
    pub(super) fn word(self) -> &'static str {
        match (self.operator, self.auditor) {
            (true, _) => "operator",
            (false, true) => "auditor",
            (false, false) => "approver",
        }
    }
}
