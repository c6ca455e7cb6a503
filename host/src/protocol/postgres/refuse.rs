//! How PostgreSQL clients are told things: ErrorResponse and NoticeResponse (PostgreSQL manual, "Error and Notice
//! Message Fields").

use super::frame;
use chaperone_core::refusal::{Refusal, RefusalCode};

/// How bad it is. `FATAL` closes the session, `ERROR` keeps it usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    Fatal,
    Error,
    Warning,
    Notice,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Severity::Fatal => "FATAL",
            Severity::Error => "ERROR",
            Severity::Warning => "WARNING",
            Severity::Notice => "NOTICE",
        }
    }
}

/// The SQLSTATE of a refusal (PostgreSQL manual, appendix "PostgreSQL Error Codes").
pub(super) fn sqlstate(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::CredentialMissing | RefusalCode::CredentialInvalid | RefusalCode::CredentialExpired => {
            "28P01"
        }
        RefusalCode::NotGranted | RefusalCode::Denied | RefusalCode::NoWindow | RefusalCode::TlsRequired => {
            "28000"
        }
        RefusalCode::OperationRefused
        | RefusalCode::HoldRejected
        | RefusalCode::HoldTimedOut
        | RefusalCode::MaskImpossible => "42501",
        RefusalCode::NotUnderstood => "42601",
        RefusalCode::Cancelled => "57014",
        RefusalCode::PluginFault | RefusalCode::Internal | RefusalCode::RecorderFailed => "58000",
        RefusalCode::TargetUnavailable | RefusalCode::ProviderUnavailable => "08006",
        RefusalCode::WindowClosed | RefusalCode::Revoked | RefusalCode::ShuttingDown => "57P01",
        RefusalCode::LimitReached => "54000",
        RefusalCode::ProtocolViolation => "08P01",
        _ => "XX000",
    }
}

/// Appends a refusal as an ErrorResponse.
pub(super) fn error(out: &mut Vec<u8>, severity: Severity, refusal: &Refusal) {
    response(
        out,
        b'E',
        severity,
        sqlstate(refusal.code),
        [(b'M', &refusal.message), (b'D', &refusal.detail), (b'H', &refusal.hint)],
    );
}

/// Appends a NoticeResponse.
pub(super) fn notice(out: &mut Vec<u8>, message: &str, detail: &str, hint: &str) {
    response(out, b'N', Severity::Notice, "01000", [(b'M', message), (b'D', detail), (b'H', hint)]);
}

/// Appends a NoticeResponse of the severity WARNING.
pub(super) fn warning(out: &mut Vec<u8>, message: &str, detail: &str, hint: &str) {
    response(out, b'N', Severity::Warning, "01000", [(b'M', message), (b'D', detail), (b'H', hint)]);
}

fn response<T: AsRef<str>>(
    out: &mut Vec<u8>,
    kind: u8,
    severity: Severity,
    sqlstate: &str,
    texts: [(u8, T); 3],
) {
    frame::message(out, kind, |out| {
        let mut field = |name: u8, text: &str| {
            out.push(name);
            // A zero byte inside would end the field and start another of the writer's choice.
            out.extend(text.bytes().filter(|byte| *byte != 0));
            out.push(0);
        };
        field(b'S', severity.as_str());
        field(b'V', severity.as_str());
        field(b'C', sqlstate);
        for (name, text) in texts {
            if name == b'M' || !text.as_ref().is_empty() {
                field(name, text.as_ref());
            }
        }
        out.push(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_cannot_smuggle_a_field() {
        let mut out = Vec::new();
        let refusal = Refusal::new(RefusalCode::OperationRefused, "no\0Cxx").detail("why").hint("");
        error(&mut out, Severity::Error, &refusal);
        let text = String::from_utf8(out.split_off(5)).unwrap();
        assert_eq!(text, "SERROR\0VERROR\0C42501\0MnoCxx\0Dwhy\0\0");
    }
}
