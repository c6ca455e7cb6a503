//! Answers of a check that are wrong, or far too much.

use chaperone_sdk::bindings::sql_check::chaperone::plugin::sql_facts::{
    Access, ColumnRef, Place, Relation, StatementFacts,
};
use chaperone_sdk::bindings::sql_check::chaperone::plugin::types::{Assessment, Finding, Verdict};
use chaperone_sdk::bindings::sql_check::exports::chaperone::plugin::sql_check::Response;

pub(crate) fn allowed() -> Response {
    Response {
        assessment: Assessment { verdict: Verdict::Allow, risk: 0, findings: Vec::new() },
        statements: Vec::new(),
    }
}

fn finding(detail: String) -> Finding {
    Finding { rule: "hostile".into(), detail, risk: 0 }
}

/// An answer that tells the test something.
pub(crate) fn found(detail: String) -> Response {
    with(vec![finding(detail)])
}

fn with(findings: Vec<Finding>) -> Response {
    let mut response = allowed();
    response.assessment.findings = findings;
    response
}

fn statement(class: String) -> StatementFacts {
    StatementFacts {
        classes: Vec::new(),
        class,
        relations: Vec::new(),
        columns: Vec::new(),
        functions: Vec::new(),
        opaque: false,
        changes_session: false,
        copy_out: None,
    }
}

/// A statement of one class, which says nothing else of it.
fn of_class(class: &str) -> Response {
    let mut response = allowed();
    response.statements.push(StatementFacts { classes: vec![class.into()], ..statement(class.into()) });
    response
}

/// `INSERT INTO orders … SELECT … ssn … FROM customers`, with everything told but a class that is known.
fn copies(class: &str) -> StatementFacts {
    let relation = |name: &str, access| Relation { schema: None, name: name.into(), access };
    let column = |name: &str, place| ColumnRef { qualifier: None, name: name.into(), place };
    StatementFacts {
        classes: vec![class.into()],
        relations: vec![relation("orders", Access::Write), relation("customers", Access::Read)],
        columns: vec![column("ssn", Place::Other), column("item", Place::Assigned)],
        ..statement(class.into())
    }
}

pub(crate) fn answer(word: &str) -> Option<Response> {
    let mut response = allowed();
    match word {
        "risk-101" => response.assessment.risk = 101,
        "finding-risk-255" => {
            response.assessment.findings.push(Finding {
                rule: String::new(),
                detail: String::new(),
                risk: 255,
            });
        }
        "long-text" => return Some(found("x".repeat(4097))),
        "long-class" => response.statements.push(statement("x".repeat(4097))),
        "long-refusal" => response.assessment.verdict = Verdict::Refuse(crate::refusal("x".repeat(4097))),
        "many-findings" => return Some(with((0..257).map(|_| finding(String::new())).collect())),
        "many-statements" => response.statements = (0..16_385).map(|_| statement(String::new())).collect(),
        // All in the plugin's own memory, yet more than the host wants to copy.
        "huge-text" => return Some(found("x".repeat(17 << 20))),
        "many-texts" => return Some(with((0..400_000).map(|_| finding(String::new())).collect())),
        // A thousand texts that are one and the same megabyte: a gigabyte, once they are copied.
        "amplified" => return Some(with(aliases(1000).map(finding).collect())),
        "not-utf8" => return Some(found(broken())),
        "class-select" => return Some(of_class("select")),
        // Words of its own, for what the host has words for.
        "class-foreign" => return Some(of_class("reads")),
        "class-foreign-copies" => response.statements.push(copies("moves")),
        "class-insert-copies" => response.statements.push(copies("insert")),
        "class-foreign-risky" => {
            response = of_class("writes.much");
            response.assessment.risk = 90;
        }
        _ => return None,
    }
    Some(response)
}

#[allow(unsafe_code)]
fn aliases(count: usize) -> impl Iterator<Item = String> {
    let text: &'static mut [u8] = Box::leak(vec![b'x'; 1 << 20].into_boxed_slice());
    let (start, length) = (text.as_mut_ptr(), text.len());
    // SAFETY: none. Each of these would free the same memory; the host never lets it come to that.
    (0..count).map(move |_| unsafe { String::from_raw_parts(start, length, length) })
}

#[allow(unsafe_code)]
fn broken() -> String {
    // SAFETY: none. It is what the host has to notice.
    unsafe { String::from_utf8_unchecked(vec![0xff, 0xfe]) }
}
