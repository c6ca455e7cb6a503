//! What a statement may not do with hidden columns, whatever it returns: decide by them, or carry their values elsewhere.
//!
//! Which rows come back tells as much as a value does: `WHERE ssn LIKE '1%'`, asked ten times for each digit, reads the
//! column. And a value that was written to another column, a setting or a lock is read from there by a statement that
//! names no hidden column any more. Both are settled before the statement runs.

use crate::reading;
use crate::rules::{ColumnRule, Held, Predicate, Rules};
use chaperone_sdk::{Answer, Context, Finding, Permission, Place, Refusal, StatementFacts};

/// The risk of deciding by a column whose rule says `hold`: that of deleting without a condition.
const HOLD_RISK: u8 = 80;

/// Functions of PostgreSQL's own that leave something behind that another statement can read, or that make it wait.
const LEAVE_TRACES: [&str; 14] = [
    "set_config",
    "setval",
    "setseed",
    "pg_advisory_*",
    "pg_try_advisory_*",
    "pg_sleep*",
    "pg_notify",
    "pg_logical_emit_message",
    "pg_replication_origin_*",
    "pg_create_*",
    "lo_*",
    "lowrite",
    "pg_file_*",
    "pg_cancel_backend",
];

/// Classes of statements that write values.
const WRITES: [&str; 6] = ["insert", "update", "merge", "select.into", "ddl.create", "ddl.alter"];

/// The answer to statements before they run.
pub fn check(rules: &Rules, context: &Context) -> Answer {
    let mut answer = Answer { permission: Permission::Allow, risk: 0, findings: Vec::new() };
    if rules.is_empty() {
        return answer;
    }
    let copied = copies(rules, context);
    if let Some(rule) = copied.iter(rules).next() {
        answer.permission = Permission::Refuse(copy_refusal(&copied, rule));
        return answer;
    }
    let decides = decides(rules, context);
    let strictest = decides.iter(rules).rev().max_by_key(|rule| rule.predicate);
    match strictest.map(|rule| (rule, rule.predicate)) {
        None | Some((_, Predicate::Allow)) => {}
        Some((rule, Predicate::Refuse)) => {
            answer.permission = Permission::Refuse(predicate_refusal(&decides, rule));
        }
        Some((rule, Predicate::Hold)) => {
            let refusal = predicate_refusal(&decides, rule);
            let detail = refusal.reason.clone();
            answer.findings.push(Finding { rule: refusal.rule.clone(), detail, risk: HOLD_RISK });
            answer.risk = HOLD_RISK;
            answer.permission = Permission::Approve(refusal);
        }
    }
    answer
}

/// What the statements may decide by.
fn decides(rules: &Rules, context: &Context) -> Held {
    let unknown =
        |facts: &StatementFacts| reading::is_unseen(facts) || reading::calls(facts, &reading::RUN_SQL);
    if context.statements.is_empty() || context.statements.iter().any(unknown) {
        return Held::everything();
    }
    let mut held = reading::columns(rules, context, |place| place == Place::Predicate, false);
    held.add_sources(rules, &context.unseen);
    held
}

/// What the statements may carry to where no rule looks.
fn copies(rules: &Rules, context: &Context) -> Held {
    let executes =
        context.statements.iter().any(|facts| facts.classes.iter().any(|class| class == "execute"));
    if context.statements.iter().any(reading::runs_code) {
        return Held::everything();
    }
    let writes = context.statements.iter().any(|facts| {
        let mut classes = std::iter::once(&facts.class).chain(&facts.classes);
        // What nobody understands may write.
        reading::is_unseen(facts) || classes.any(|class| is_one_of(class, &WRITES))
    });
    let leaves = context.statements.iter().any(|facts| reading::calls(facts, &LEAVE_TRACES));
    if !writes && !leaves {
        return Held::default();
    }
    if executes {
        // What it runs was said by another statement.
        return Held::everything();
    }
    let opaque = context.statements.iter().any(|facts| facts.opaque);
    let counts = |place| match place {
        // A condition chooses what is written; which values it does not say. A trace that is left says that it was met.
        Place::Predicate => leaves,
        Place::Output | Place::Other => true,
        Place::Assigned => false,
    };
    let mut held = reading::columns(rules, context, counts, opaque);
    held.add_sources(rules, &context.unseen);
    held
}

fn is_one_of(class: &str, classes: &[&str]) -> bool {
    classes
        .iter()
        .any(|one| class.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

fn predicate_refusal(held: &Held, rule: &ColumnRule) -> Refusal {
    Refusal {
        rule: "mask.predicate".into(),
        reason: held.why(rule, "this statement chooses or orders rows by"),
        hint: held.hint(
            "Leave it out of conditions, joins, grouping and ordering. It may be selected, and is then masked.",
        ),
    }
}

fn copy_refusal(held: &Held, rule: &ColumnRule) -> Refusal {
    Refusal {
        rule: "mask.copied".into(),
        reason: held.why(rule, "this statement would carry elsewhere values of"),
        hint: held
            .hint("Leave the hidden column out of it: what is written elsewhere could be read unmasked."),
    }
}
