//! The policy: a text in, an assessment and the facts of its statements out. Plain functions, no Wasm.

use crate::classes::Class;
use crate::config::{Config, SCHEMA, Settings};
use crate::facts::{self, Fault, Part, Role, Statement};
use crate::lexical::{self, LexicalFault};
use crate::rules::{By, Subject};
use crate::tree::{Node, Tree, Unparsed};
use crate::wording;
use chaperone_sdk::{
    Assessment, ConfigError, Finding, Plugin, Refusal, Session, SqlCheck, SqlRequest, SqlResponse,
    StatementFacts, Verdict,
};
use squawk_parser::SyntaxKind;

/// Statements of one text.
const MAX_STATEMENTS: usize = 1_000;
/// Findings of one text; what is above is left out, the risk is not.
const MAX_FINDINGS: usize = 64;
/// Risk from which on a part is worth a finding.
const NOTABLE_RISK: u8 = 20;

/// The plugin.
#[derive(Debug)]
pub struct SqlGuard {
    settings: Settings,
}

impl Plugin for SqlGuard {
    type Config = Config;
    const NAME: &'static str = "sql-guard";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str =
        "Reads PostgreSQL statements and allows or refuses them by class, relation and function.";
    const CONFIG_SCHEMA: &'static str = SCHEMA;
    const DETERMINISTIC: bool = true;

    fn configure(config: Config) -> Result<Self, Vec<ConfigError>> {
        Ok(SqlGuard { settings: config.build()? })
    }
}

impl SqlCheck for SqlGuard {
    fn check(&self, _session: &Session<'_>, request: &SqlRequest) -> SqlResponse {
        self.check_text(&request.text)
    }
}

impl SqlGuard {
    /// Judges a text: all of it or nothing. One refused statement refuses the whole.
    pub fn check_text(&self, text: &str) -> SqlResponse {
        if let Err(fault) = lexical::check(text, self.settings.max_bytes) {
            return refused_unread(wording::lexical(fault, self.settings.max_bytes));
        }
        let tree = match Tree::parse(text) {
            Ok(tree) => tree,
            Err(Unparsed { at }) => return refused_unread(wording::unparsed_at(text, at)),
        };
        let is_statement = |node: &Node<'_>| !node.is_token() && node.kind() != SyntaxKind::EMPTY_STMT;
        let count = tree.root().children().filter(is_statement).count();
        if count > MAX_STATEMENTS {
            return refused_unread(wording::lexical(LexicalFault::TooComplex, self.settings.max_bytes));
        }
        let mut outcome = Outcome { count, ..Outcome::default() };
        for node in tree.root().children().filter(is_statement) {
            outcome.number += 1;
            match facts::read(node) {
                Ok(statement) => self.judge(statement, &mut outcome),
                Err(fault) => outcome.fault(fault),
            }
        }
        if outcome.statements.is_empty() {
            outcome.statements.push(StatementFacts {
                opaque: false,
                changes_session: false,
                ..facts_of(Class::Empty)
            });
        }
        outcome.into_response()
    }

    fn judge(&self, statement: Statement, outcome: &mut Outcome) {
        for part in &statement.parts {
            self.judge_part(part, &statement, outcome);
        }
        for (class, function) in statement.functions.iter().zip(&statement.facts.functions) {
            if !self.settings.rules.passes_unjudged(*class) {
                let names = || wording::name(function.schema.as_deref(), &function.name);
                self.judge_subject(*class, Subject::Function(function), Role::Action, names, outcome);
            }
        }
        outcome.statements.push(statement.facts);
    }

    fn judge_part(&self, part: &Part, statement: &Statement, outcome: &mut Outcome) {
        let class = part.class;
        let relations = &statement.facts.relations;
        if part.relations.is_empty() {
            let subject = if class.may_touch_unnamed() { Subject::Unnamed } else { Subject::Nothing };
            return self.judge_subject(class, subject, part.role, String::new, outcome);
        }
        for relation in part.relations.iter().filter_map(|index| relations.get(*index)) {
            let names = || wording::name(relation.schema.as_deref(), &relation.name);
            self.judge_subject(class, Subject::Relation(relation), part.role, names, outcome);
        }
    }

    fn judge_subject(
        &self,
        class: Class,
        subject: Subject<'_>,
        role: Role,
        name: impl Fn() -> String,
        outcome: &mut Outcome,
    ) {
        let rules = &self.settings.rules;
        let judgement = rules.judge(class, subject);
        if role != Role::Planned || judgement.refused.is_some() {
            outcome.risk = outcome.risk.max(judgement.risk);
            if judgement.risk >= NOTABLE_RISK || judgement.refused.is_some() {
                outcome.finding(class, judgement.risk, &name());
            }
        }
        if let (Some(by), None) = (judgement.refused, &outcome.refusal) {
            let rule = match by {
                By::Rule(index) => rules.rule(index),
                By::Preset => None,
            };
            outcome.refuse(wording::refusal(class, by, rule, rules.preset(), &name()));
        }
    }
}

/// What is known so far about a text.
#[derive(Default)]
struct Outcome {
    /// Statements of the text, and which of them is being read, from 1.
    count: usize,
    number: usize,
    refusal: Option<Refusal>,
    risk: u8,
    findings: Vec<Finding>,
    statements: Vec<StatementFacts>,
}

impl Outcome {
    fn finding(&mut self, class: Class, risk: u8, name: &str) {
        let detail = wording::detail(class, name);
        let known = self.findings.iter().any(|known| known.rule == class.name() && known.detail == detail);
        if !known && self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { rule: class.name().to_owned(), detail, risk });
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.risk = 100;
        self.statements.push(facts_of(Class::Unknown));
        self.refuse(wording::fault(fault));
    }

    /// The first refusal is the one that is told, with the statement that it is about.
    fn refuse(&mut self, mut refusal: Refusal) {
        if self.count > 1 {
            refusal.reason = format!("statement {} of {}: {}", self.number, self.count, refusal.reason);
        }
        self.refusal.get_or_insert(refusal);
    }

    fn into_response(self) -> SqlResponse {
        let verdict = self.refusal.map_or(Verdict::Allow, Verdict::Refuse);
        SqlResponse {
            assessment: Assessment { verdict, risk: self.risk, findings: self.findings },
            statements: self.statements,
        }
    }
}

/// The answer to a text that was not read: nothing is known about it, so everything is assumed.
fn refused_unread(refusal: Refusal) -> SqlResponse {
    let finding = Finding { rule: refusal.rule.clone(), detail: refusal.reason.clone(), risk: 100 };
    SqlResponse {
        assessment: Assessment { verdict: Verdict::Refuse(refusal), risk: 100, findings: vec![finding] },
        statements: vec![facts_of(Class::Unknown)],
    }
}

fn facts_of(class: Class) -> StatementFacts {
    StatementFacts {
        class: class.name().to_owned(),
        classes: vec![class.name().to_owned()],
        relations: Vec::new(),
        columns: Vec::new(),
        functions: Vec::new(),
        opaque: true,
        changes_session: true,
        copy_out: None,
    }
}
