//! Problem details (RFC 9457), with the two members that agents act on: `code`, which is stable, and `request`, which is
//! what to send next.

use crate::grant::{AskError, NextStep, PermitEnd, RenewError};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chaperone_core::approval::ApprovalProblem;
use chaperone_core::refusal::{Refusal, RefusalCode, sentence};
use serde::Serialize;
use std::num::NonZeroU16;

/// An error answer.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Problem {
    /// A URN of the code: there is no page behind it, and nothing to fetch.
    #[serde(rename = "type")]
    kind: String,
    title: String,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Box<NextStep>>,
    #[serde(skip)]
    challenge: Option<&'static str>,
    /// Seconds, told as `Retry-After` (RFC 9110, section 10.2.3).
    #[serde(skip)]
    retry_after: Option<NonZeroU16>,
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, title: impl Into<String>) -> Self {
        let kind = format!("urn:chaperone:problem:{code}");
        Problem {
            kind,
            title: title.into(),
            status,
            detail: String::new(),
            code,
            request: None,
            challenge: None,
            retry_after: None,
        }
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    pub(super) fn request(mut self, next: NextStep) -> Self {
        self.request = Some(Box::new(next));
        self
    }

    /// The `WWW-Authenticate` of RFC 6750, section 3.
    pub(super) fn challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// A body or a parameter that is not what it should be.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "malformed", "The request is not understood.").detail(detail)
    }

    /// Of a token in the body: the one that the call was made with is fine, and is not challenged.
    pub(super) fn of_new_token(refusal: Refusal) -> Self {
        let problem = Problem::from(refusal);
        let title = format!("The new token: {}", problem.title);
        match problem.status {
            StatusCode::UNAUTHORIZED => {
                Problem { status: StatusCode::UNPROCESSABLE_ENTITY, title, challenge: None, ..problem }
            }
            _ => Problem { title, ..problem },
        }
    }

    pub(super) fn not_found() -> Self {
        Problem::new(StatusCode::NOT_FOUND, "not-found", AskError::NotFound.to_string())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            RefusalCode::CredentialMissing
            | RefusalCode::CredentialInvalid
            | RefusalCode::CredentialExpired => StatusCode::UNAUTHORIZED,
            RefusalCode::NotGranted | RefusalCode::Denied | RefusalCode::NoWindow => StatusCode::FORBIDDEN,
            RefusalCode::LimitReached => StatusCode::TOO_MANY_REQUESTS,
            RefusalCode::ProviderUnavailable | RefusalCode::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            RefusalCode::NotUnderstood => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let detail = [refusal.detail, refusal.hint].join(" ");
        let problem =
            Problem::new(status, refusal.code.as_str(), sentence(&refusal.message)).detail(detail.trim());
        if status == StatusCode::UNAUTHORIZED {
            // The same words for every reason: the reason class is in the body.
            problem.challenge(r#"Bearer realm="chaperone", error="invalid_token""#)
        } else {
            problem
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        let (status, code) = match &error {
            AskError::Failed(refusal) | AskError::Barred(refusal) => return refusal.clone().into(),
            AskError::NotGranted => (StatusCode::FORBIDDEN, "not-granted"),
            AskError::TooLong(_) => (StatusCode::UNPROCESSABLE_ENTITY, "duration-too-long"),
            AskError::Duration => (StatusCode::UNPROCESSABLE_ENTITY, "duration-invalid"),
            AskError::Reason => (StatusCode::UNPROCESSABLE_ENTITY, "reason-invalid"),
            AskError::About(_) => (StatusCode::BAD_REQUEST, "malformed"),
            AskError::TicketNeeded => (StatusCode::UNPROCESSABLE_ENTITY, "ticket-needed"),
            AskError::Ticket => (StatusCode::UNPROCESSABLE_ENTITY, "ticket-invalid"),
            AskError::Spent(_) => (StatusCode::TOO_MANY_REQUESTS, "windows-spent"),
            AskError::RequesterSpent(_) => (StatusCode::CONFLICT, "windows-spent"),
            AskError::OutsideHours(_) => (StatusCode::CONFLICT, "outside-hours"),
            AskError::Key => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-invalid"),
            AskError::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused"),
            AskError::TooMany | AskError::TooFast(_) | AskError::TooManyOpened => {
                (StatusCode::TOO_MANY_REQUESTS, "limit-reached")
            }
            AskError::Unusable(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            AskError::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            AskError::AlreadyOver => (StatusCode::CONFLICT, "already-over"),
            AskError::PolicyChanged => (StatusCode::CONFLICT, "policy-changed"),
            AskError::DenialLength => (StatusCode::UNPROCESSABLE_ENTITY, "duration-invalid"),
            AskError::DeniesItself => (StatusCode::CONFLICT, "denies-itself"),
            AskError::TooManyDenials | AskError::TooManyPreservations => {
                (StatusCode::CONFLICT, "limit-reached")
            }
            AskError::Rule(rule) => match rule {
                ApprovalProblem::NotAPerson(_) => (StatusCode::FORBIDDEN, "not-a-person"),
                ApprovalProblem::NotForApproving => (StatusCode::FORBIDDEN, "not-for-approving"),
                ApprovalProblem::OwnRequest => (StatusCode::FORBIDDEN, "own-request"),
                ApprovalProblem::NotAnApprover => (StatusCode::NOT_FOUND, "not-found"),
                ApprovalProblem::Final(_) => (StatusCode::CONFLICT, "already-settled"),
                ApprovalProblem::TooLate => (StatusCode::CONFLICT, "too-late"),
                ApprovalProblem::Twice => (StatusCode::CONFLICT, "already-decided"),
                ApprovalProblem::Comment => (StatusCode::UNPROCESSABLE_ENTITY, "comment-invalid"),
                ApprovalProblem::TooMany => (StatusCode::CONFLICT, "limit-reached"),
            },
        };
        let problem = Problem::new(status, code, error.to_string());
        match error {
            AskError::TooFast(rest) => {
                let seconds = u16::try_from(rest.as_secs()).unwrap_or(u16::MAX);
                Problem { retry_after: NonZeroU16::new(seconds), ..problem }
            }
            _ => problem,
        }
    }
}

impl From<RenewError> for Problem {
    fn from(error: RenewError) -> Self {
        let (status, code) = match &error {
            RenewError::NotLive => return Problem::not_found(),
            RenewError::Ended(_) => (StatusCode::CONFLICT, "already-over"),
            RenewError::OtherCaller => (StatusCode::UNPROCESSABLE_ENTITY, "other-caller"),
            RenewError::Older => (StatusCode::UNPROCESSABLE_ENTITY, "older-token"),
            RenewError::Expired => {
                (StatusCode::UNPROCESSABLE_ENTITY, RefusalCode::CredentialExpired.as_str())
            }
            RenewError::Refused(end) => match &**end {
                PermitEnd::Denied { .. } => (StatusCode::FORBIDDEN, RefusalCode::Denied.as_str()),
                _ => (StatusCode::FORBIDDEN, RefusalCode::NotGranted.as_str()),
            },
            RenewError::FewerGroups => (StatusCode::FORBIDDEN, "fewer-groups"),
            RenewError::TooMany => (StatusCode::CONFLICT, "limit-reached"),
        };
        Problem::new(status, code, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let challenge = self.challenge.map(HeaderValue::from_static);
        let retry_after = self.retry_after.map(|seconds| HeaderValue::from(seconds.get()));
        let mut response = (self.status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(challenge) = challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(rest) = retry_after {
            headers.insert(header::RETRY_AFTER, rest);
        }
        response
    }
}
