//! What the client, the approver and the recording are told. These texts are part of the interface.

use crate::classes::Class;
use crate::facts::Fault;
use crate::lexical::LexicalFault;
use crate::rules::{By, Preset, Rule};
use crate::settings::Forbidden;
use chaperone_sdk::Refusal;

fn refuse(rule: &str, reason: impl Into<String>, hint: &str) -> Refusal {
    Refusal { rule: rule.to_owned(), reason: reason.into(), hint: hint.to_owned() }
}

const UNPARSED: &str =
    "the text is not SQL that the gateway understands, and what it does not understand it does not forward";

/// The parser did not understand the text.
fn unparsed(reason: String) -> Refusal {
    refuse("sql.unparsed", reason, "Check the syntax there, and write it in plain PostgreSQL syntax.")
}

/// The same, from a byte on.
pub(crate) fn unparsed_at(text: &str, at: usize) -> Refusal {
    let before = text.get(..text.floor_char_boundary(at)).unwrap_or_default();
    let line = before.split('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    unparsed(format!("{UNPARSED}; it stops at line {line}, character {column}"))
}

/// The text was refused before the parser saw it.
pub(crate) fn lexical(fault: LexicalFault, max_bytes: usize) -> Refusal {
    match fault {
        LexicalFault::TooLarge => refuse(
            "sql.too-large",
            format!("the text is longer than the {max_bytes} bytes that are checked"),
            "Send it in smaller pieces; use parameters or COPY for data.",
        ),
        LexicalFault::TooComplex => too_complex(),
        LexicalFault::Unbalanced => unparsed(format!("{UNPARSED}; its brackets do not match")),
        LexicalFault::Nul => ambiguous("the text contains a NUL byte"),
        LexicalFault::ByteOrderMark => ambiguous("the text starts with a byte order mark"),
        LexicalFault::UnicodeIdentifier => ambiguous("the text contains a name written as U&\"…\""),
        LexicalFault::EscapeContinuation => {
            ambiguous("an E'…' string is continued by another string that contains a backslash")
        }
    }
}

fn ambiguous(reason: &str) -> Refusal {
    refuse(
        "sql.ambiguous",
        reason,
        "Write it plainly: nothing may look different to the server than to the check.",
    )
}

fn too_complex() -> Refusal {
    refuse(
        "sql.too-complex",
        "the text nests too deep or has too many parts to be checked",
        "Send it in smaller pieces.",
    )
}

/// A statement was refused without asking the rules.
pub(crate) fn fault(fault: Fault) -> Refusal {
    match fault {
        Fault::Unreadable => unparsed(UNPARSED.to_owned()),
        Fault::TooComplex => too_complex(),
        Fault::Forbidden(Forbidden::Names) => refuse(
            "session.names",
            "the statement would put, or may put, another schema before pg_catalog, so that the names of PostgreSQL's own \
             functions and operators would mean somebody else's",
            "Leave pg_catalog out of search_path (it is searched first then), or name it first.",
        ),
        Fault::Forbidden(Forbidden::Reading) => refuse(
            "session.reading",
            "the statement would change, or may change, how the server reads later statements",
            "Leave standard_conforming_strings on and client_encoding UTF8 for the whole session.",
        ),
    }
}

/// A rule or the preset refused.
pub(crate) fn refusal(class: Class, by: By, rule: Option<&Rule>, preset: Preset, name: &str) -> Refusal {
    let detail = detail(class, name);
    let reason = match (by, rule.and_then(|rule| rule.message.clone())) {
        (_, Some(message)) => message,
        (By::Rule(index), None) => format!("{detail}; rule {index} of this target refuses {class}"),
        (By::Preset, None) if class == Class::Unknown => format!("{detail}; what is not known is refused"),
        (By::Preset, None) => {
            format!("{detail}; the preset {} of this target refuses {class}", preset.name())
        }
    };
    let hint = rule.and_then(|rule| rule.hint.clone()).unwrap_or_else(|| hint(class).to_owned());
    Refusal { rule: class.name().to_owned(), reason, hint }
}

fn hint(class: Class) -> &'static str {
    match class {
        Class::UpdateNoWhere | Class::DeleteNoWhere => {
            "Add a condition on a column of the table that is changed, so that it says which rows are meant."
        }
        Class::Truncate => "Use DELETE with a WHERE clause.",
        Class::SelectInto => "Read the rows without storing them.",
        Class::SelectForUpdate => "Read the rows without FOR UPDATE or FOR SHARE.",
        Class::CopyFile | Class::CopyProgram => "Use COPY … TO STDOUT or COPY … FROM STDIN.",
        Class::Procedural => "Write the statements out instead of wrapping them into code.",
        Class::FunctionOther => {
            "Use PostgreSQL's own functions, or ask the operator of this target to list it under `functions` of sql-guard."
        }
        Class::Role => "Stay the role that you are: the gateway chose it for you.",
        Class::FunctionAdmin => "Use SET for settings of the session; the server is the operator's.",
        _ => "Ask the operator of this target whether it can be allowed.",
    }
}

/// One sentence about a class and what it applies to.
pub(crate) fn detail(class: Class, name: &str) -> String {
    let phrase = class.phrase();
    if name.is_empty() { format!("it {phrase}") } else { format!("it {phrase}: {name}") }
}

/// A name for people: quoted where it is not plain, and never with control characters, since it comes from the
/// client and ends on an approver's screen.
pub(crate) fn name(schema: Option<&str>, name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    for part in schema.into_iter().chain([name]) {
        if !out.is_empty() {
            out.push('.');
        }
        if part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')) {
            out.push_str(part);
        } else {
            out.push('"');
            out.extend(part.escape_debug());
            out.push('"');
        }
    }
    out
}
