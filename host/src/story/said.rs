//! What the events of an operation say in JSON, taken into its value: bounded, and whatever cannot be read says nothing.

use super::operation::{Decided, Fault, HoldStory, Operation, Refused, TargetError, Terms};
use crate::protocol::postgres::render::cut;
use crate::recorder::{Event, EventKind, Part};
use chaperone_core::decision::Finding;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The longest JSON body that is read, in bytes. A decision about the longest statement is longer: its beginning is not
/// worth the memory, so it counts as unknown.
const MAX_JSON_BYTES: usize = 1 << 20;
/// Entries of a list: findings, tables, classes, masked columns, people.
const MAX_LIST: usize = 64;
/// Characters of a short text: a name, a rule, a sentence.
pub(super) const MAX_WORD: usize = 512;

/// An event's body, read.
pub(super) fn body<T: DeserializeOwned>(event: &Event) -> Option<T> {
    let short = event.body.len() <= MAX_JSON_BYTES && event.part == Part::Last;
    serde_json::from_slice(short.then_some(&event.body)?).ok()
}

/// Takes in what an event of an operation says.
pub(super) fn said(operation: &mut Operation, event: &Event) {
    match event.kind {
        EventKind::Decision => decided(operation, event),
        EventKind::Hold => {
            operation.hold = body::<HoldStory>(event).map(|hold| HoldStory {
                hold: cut(&hold.hold, MAX_WORD),
                terms: hold.terms.into_iter().take(MAX_LIST).map(terms).collect(),
                since_us: event.at_us,
                ..HoldStory::default()
            });
        }
        EventKind::HoldResolved => {
            if let (Some(hold), Some(resolved)) = (&mut operation.hold, body::<HoldStory>(event)) {
                hold.outcome = resolved.outcome.map(|word| cut(&word, MAX_WORD));
                hold.approved_by = words(resolved.approved_by);
                hold.detail = cut(&resolved.detail, MAX_WORD);
                hold.until_us = Some(event.at_us);
            }
        }
        EventKind::Mask => {
            #[derive(Deserialize)]
            struct Masked {
                columns: Vec<String>,
            }
            if let Some(masked) = body::<Masked>(event) {
                operation.masked_columns = words(masked.columns);
            }
        }
        EventKind::Fault if operation.faults.len() < MAX_LIST => {
            operation.faults.extend(body::<Fault>(event).map(|fault| Fault {
                plugin: cut(&fault.plugin, MAX_WORD),
                hook: cut(&fault.hook, MAX_WORD),
                kind: cut(&fault.kind, MAX_WORD),
            }));
        }
        EventKind::Refusal => operation.refusal = body(event).map(refused),
        EventKind::Error => {
            operation.error = body::<TargetError>(event).map(|error| TargetError {
                side: cut(&error.side, MAX_WORD),
                sqlstate: cut(&error.sqlstate, MAX_WORD),
            });
        }
        EventKind::Result => result(operation, event),
        EventKind::Truncated => operation.truncated = true,
        _ => {}
    }
}

fn decided(operation: &mut Operation, event: &Event) {
    #[derive(Deserialize)]
    struct Decision {
        #[serde(flatten)]
        decided: Decided,
        refusal: Option<Refused>,
        #[serde(default)]
        statements: Vec<Statement>,
    }
    #[derive(Deserialize)]
    struct Statement {
        #[serde(default)]
        class: String,
        #[serde(default)]
        relations: Vec<Relation>,
    }
    #[derive(Deserialize)]
    struct Relation {
        schema: Option<String>,
        name: String,
    }
    let Some(Decision { decided, refusal, statements }) = body(event) else { return };
    let mut classes = Vec::new();
    let mut tables = Vec::new();
    for Statement { class, relations } in statements {
        add(&mut classes, class);
        for Relation { schema, name } in relations {
            add(&mut tables, schema.map(|schema| format!("{schema}.{name}")).unwrap_or(name));
        }
    }
    let finding = |finding: Finding| Finding {
        rule: cut(&finding.rule, MAX_WORD),
        detail: cut(&finding.detail, MAX_WORD),
        risk: finding.risk,
    };
    (operation.classes, operation.tables) = (classes, tables);
    operation.refusal = refusal.map(refused);
    operation.decision = Some(Decided {
        plugin: decided.plugin.map(|plugin| cut(&plugin, MAX_WORD)),
        findings: decided.findings.into_iter().take(MAX_LIST).map(finding).collect(),
        ..decided
    });
}

fn result(operation: &mut Operation, event: &Event) {
    #[derive(Deserialize)]
    struct Completed {
        #[serde(default)]
        tag: String,
        #[serde(default)]
        rows: u64,
        #[serde(default)]
        masked: u64,
        #[serde(default)]
        micros: u64,
    }
    let Some(Completed { tag, rows, masked, micros }) = body(event) else { return };
    operation.results = operation.results.saturating_add(1);
    operation.tag = cut(&tag, MAX_WORD);
    operation.rows = operation.rows.saturating_add(rows);
    operation.masked_values = operation.masked_values.saturating_add(masked);
    operation.took_us = Some(operation.took_us.unwrap_or(0).saturating_add(micros));
}

fn add(list: &mut Vec<String>, word: String) {
    if list.len() < MAX_LIST && !word.is_empty() {
        let word = cut(&word, MAX_WORD);
        if !list.contains(&word) {
            list.push(word);
        }
    }
}

fn words(words: Vec<String>) -> Vec<String> {
    words.into_iter().take(MAX_LIST).map(|word| cut(&word, MAX_WORD)).collect()
}

fn terms(terms: Terms) -> Terms {
    Terms {
        approvers: cut(&terms.approvers, MAX_WORD),
        needed: terms.needed,
        reason: cut(&terms.reason, MAX_WORD),
    }
}

fn refused(refusal: Refused) -> Refused {
    Refused {
        code: cut(&refusal.code, MAX_WORD),
        message: cut(&refusal.message, MAX_WORD),
        detail: cut(&refusal.detail, MAX_WORD),
    }
}
