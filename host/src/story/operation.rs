//! An operation as a value: all that a recording says about it, without its rows.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// One operation. Texts are as they were written: clean or escape them before they are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its number within the session, from 1.
    pub number: u64,
    /// The prepared operation that this one executes; decision, tables and masks are those of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Which execution of it this is, from 1; 0 when it executes none.
    #[serde(default)]
    pub nth: u64,
    /// How often it was executed, when it was prepared.
    #[serde(default)]
    pub executions: u64,
    /// Microseconds from the session's start to its arrival.
    pub at_us: u64,
    /// How it came: `query`, `parse`, `function-call`; `execute` for a prepared one that runs.
    pub form: String,
    /// The statement, at most [`super::MAX_TEXT_BYTES`] of it. Left out where texts are not indexed.
    #[serde(default)]
    pub text: String,
    /// The length of the whole statement, in bytes.
    pub text_bytes: u64,
    /// What was bound to it. None when nothing was, or when it is not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
    /// What was decided; None while it is being judged, and when a plugin broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decided>,
    /// Classes of its statements, for example `delete.no-where`.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Relations that its statements name: `name` or `schema.name`, folded as the target folds them, each once.
    #[serde(default)]
    pub tables: Vec<String>,
    /// How it waited for people, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldStory>,
    /// Columns of its results that were masked.
    #[serde(default)]
    pub masked_columns: Vec<String>,
    /// Plugins that broke over it.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// What the client was told instead of getting what it asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refused>,
    /// The target's error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TargetError>,
    /// Results that came; a text of several statements has several.
    #[serde(default)]
    pub results: u64,
    /// The tag of the last result, for example `SELECT 2`.
    #[serde(default)]
    pub tag: String,
    /// Rows of all its results.
    #[serde(default)]
    pub rows: u64,
    /// Values in them that were masked.
    #[serde(default)]
    pub masked_values: u64,
    /// Bytes of answers that were recorded.
    #[serde(default)]
    pub answered_bytes: u64,
    /// Bytes that the client sent in bulk and that were recorded.
    #[serde(default)]
    pub uploaded_bytes: u64,
    /// Microseconds that its results took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    /// Whether bulk data of it was left out of the recording.
    #[serde(default)]
    pub truncated: bool,
    /// Whether no more is to come: a later one was answered, or the session is over.
    #[serde(default)]
    pub settled: bool,
}

impl Operation {
    /// Leaves out what was sent: the statement, and what was bound to it. What is said of it stays.
    pub fn leave_out_texts(&mut self) {
        self.text.clear();
        self.parameters = None;
    }

    /// Whether it was kept from running, by whomever.
    pub fn was_refused(&self) -> bool {
        let decided = self.decision.as_ref().is_some_and(|decided| decided.verdict == Verdict::Refuse);
        let held = self.hold.as_ref().and_then(|hold| hold.outcome.as_deref());
        decided || self.refusal.is_some() || held.is_some_and(|outcome| outcome != "approved")
    }

    /// Whether it ran, or was about to when the recording ends.
    pub fn was_allowed(&self) -> bool {
        let approved = || self.hold.as_ref().is_some_and(|hold| hold.outcome.as_deref() == Some("approved"));
        !self.was_refused()
            && match self.decision.as_ref().map(|decided| decided.verdict) {
                Some(Verdict::Allow) => true,
                Some(Verdict::Hold) => approved(),
                Some(Verdict::Refuse) | None => false,
            }
    }

    /// Whether an auditor would want to look: somebody or something objected, or broke.
    pub fn is_notable(&self) -> bool {
        self.was_refused()
            || self.was_held()
            || self.error.is_some()
            || !self.faults.is_empty()
            || self.decision.as_ref().is_some_and(|decided| !decided.findings.is_empty())
    }

    /// Whether people were asked, whatever they said.
    pub fn was_held(&self) -> bool {
        self.hold.is_some()
    }

    /// What became of it, in the words that are looked for. One that was held and then approved has two.
    pub fn decisions(&self) -> impl Iterator<Item = &'static str> {
        let words =
            [("allowed", self.was_allowed()), ("refused", self.was_refused()), ("held", self.was_held())];
        words.into_iter().filter(|(_, is)| *is).map(|(word, _)| word)
    }
}

/// Values that were bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// The first of them, cut: a string, null, or `{"hex": "…"}` for bytes.
    pub values: Vec<Json>,
    /// How many there were.
    pub count: u64,
}

/// The word of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It runs.
    Allow,
    /// It does not.
    Refuse,
    /// People are asked.
    Hold,
}

/// What was decided, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The word.
    #[serde(rename = "decision")]
    pub verdict: Verdict,
    /// The plugin that refused. Recordings of before it was written do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The highest risk, 0 to 100.
    #[serde(default)]
    pub risk: u8,
    /// What a human should know.
    #[serde(default)]
    pub findings: Vec<chaperone_core::decision::Finding>,
}

/// A refusal, in the words that the client got.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The stable code.
    #[serde(default)]
    pub code: String,
    /// What was refused.
    #[serde(default)]
    pub message: String,
    /// Why.
    #[serde(default)]
    pub detail: String,
}

/// How an operation waited for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldStory {
    /// The hold's id.
    #[serde(default)]
    pub hold: String,
    /// Whom it waited for.
    #[serde(default)]
    pub terms: Vec<Terms>,
    /// `approved`, or the code of the refusal; None while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Who approved.
    #[serde(default, rename = "by")]
    pub approved_by: Vec<String>,
    /// Why it was not approved.
    #[serde(default)]
    pub detail: String,
    /// When it began to wait, in microseconds since the session's start.
    #[serde(default)]
    pub since_us: u64,
    /// When it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_us: Option<u64>,
}

/// One group of people who were asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The group.
    #[serde(default)]
    pub approvers: String,
    /// How many of them.
    #[serde(default)]
    pub needed: u64,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// A plugin that broke.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which.
    #[serde(default)]
    pub plugin: String,
    /// Where it was asked.
    #[serde(default)]
    pub hook: String,
    /// How it broke.
    #[serde(default)]
    pub kind: String,
}

/// An error that did not come from us.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetError {
    /// Whose it is.
    #[serde(default)]
    pub side: String,
    /// The SQLSTATE.
    #[serde(default)]
    pub sqlstate: String,
}
