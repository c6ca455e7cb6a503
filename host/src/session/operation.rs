//! Judging one operation: checks, approval triggers, the combined ruling, and waiting for approvers.

use super::Session;
use super::activity::Activity;
use super::traits::{self, Traits};
use crate::grant::{HeldOperation as HoldRequest, Hold, HoldOutcome};
use crate::recorder::EventKind;
use chaperone_core::decision::{Finding, HoldTerms, RuleRefusal};
use chaperone_core::name::{HoldId, Principal};
use chaperone_core::refusal::{Refusal, RefusalCode};
use chaperone_core::sql::{StatementFacts, Surroundings, Use};
use chaperone_hooks::{Fault, Hook, OperationSummary, UseJudgement};
use serde::Serialize;
use serde_json::json;
use std::cell::OnceCell;
use std::rc::Rc;

/// What the host decided about an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// It runs.
    Allow,
    /// It does not; the client is told this.
    Refuse(Refusal),
    /// It waits for all of these.
    Hold(Vec<HoldTerms>),
}

/// A judged operation, shared by whatever executes it.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The operation's number in the recording.
    pub operation: u64,
    /// What was decided.
    pub ruling: Ruling,
    /// The plugin that refused it; None where the gateway did.
    pub refused_by: Option<Rc<str>>,
    /// Highest risk.
    pub risk: u8,
    /// What a human should know.
    pub findings: Rc<[Finding]>,
    /// What each statement is and touches.
    pub statements: Rc<[StatementFacts]>,
    /// What its statements are, as the relay asks for it.
    pub traits: Traits,
    /// The text that was judged.
    pub text: Rc<str>,
    /// What it returns rows of, where that was said by other statements (EXECUTE, FETCH) and they are known.
    pub reached: Option<Rc<Reached>>,
    /// The recorded words of an allowed operation: the same for each that shares this judgement.
    pub(super) allowed: Rc<OnceCell<Vec<u8>>>,
}

/// All statements that an EXECUTE or a FETCH may return rows of.
#[derive(Debug)]
pub struct Reached {
    /// What they are and touch.
    pub statements: Vec<StatementFacts>,
    /// What the catalog has of their names.
    pub surroundings: Surroundings,
}

impl Judged {
    /// Of a text that no plugin has judged here: nothing is known of it.
    pub fn unseen(text: Rc<str>, ruling: Ruling) -> Self {
        Judged {
            operation: 0,
            ruling,
            refused_by: None,
            risk: 0,
            findings: Rc::default(),
            statements: Rc::default(),
            traits: Traits::of(&[], ""),
            text,
            reached: None,
            allowed: Rc::default(),
        }
    }

    /// The same, when what it reaches is known and changes nothing.
    pub fn reaching(&self, reached: Reached) -> Self {
        Judged {
            reached: Some(Rc::new(reached)),
            traits: Traits {
                changes_session: false,
                renames_statements: false,
                renames_portals: false,
                ..self.traits
            },
            ..self.clone()
        }
    }

    /// Whether a keyword may be in its text.
    pub fn mentions(&self, word: &str) -> bool {
        traits::mentions(&self.text, word)
    }

    /// What masks may rely on. A statement whose body is elsewhere (EXECUTE, FETCH) tells nothing by itself, and if what it
    /// reaches is not known, nothing is: fails closed, masks treat missing facts as the worst.
    pub fn facts_for_masks(&self) -> &[StatementFacts] {
        if let Some(reached) = &self.reached {
            return &reached.statements;
        }
        let elsewhere = |facts: &StatementFacts| {
            facts.is("execute") || (facts.is("cursor") && facts.relations.is_empty())
        };
        if self.statements.iter().any(elsewhere) { &[] } else { &self.statements }
    }
}

/// A decision as it is recorded.
#[derive(Serialize)]
struct Decision<'a> {
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a str>,
    risk: u8,
    findings: &'a [Finding],
    refusal: Option<&'a Refusal>,
    statements: &'a [StatementFacts],
}

/// A parked operation.
pub struct HeldOperation {
    hold: Hold,
    /// The hold's id, for the client's notice.
    pub id: HoldId,
}

/// What became of a parked operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldOutcome {
    /// Approved: exactly the judged bytes may run.
    Approved(Vec<Principal>),
    /// It does not run.
    Refused(Refusal),
}

impl HeldOperation {
    /// Resolves when the approvers or the clock have decided. Dropping the operation withdraws it.
    pub async fn outcome(&mut self) -> HeldOutcome {
        let outcome = self.hold.outcome().await;
        match (outcome.refusal(), outcome) {
            (None, HoldOutcome::Approved { by }) => HeldOutcome::Approved(by),
            (Some(refusal), _) => HeldOutcome::Refused(refusal),
            // Fails closed: an outcome that is neither an approval nor says why is none.
            (None, _) => HeldOutcome::Refused(Refusal::new(
                RefusalCode::HoldRejected,
                "the operation was not approved",
            )),
        }
    }
}

impl Session {
    /// Judges a SQL text: checks first, then approval triggers. The protocol may only make the ruling stricter, and then
    /// hands it to [`Session::note_decision`].
    pub async fn judge_sql(&mut self, kind: &str, text: &str) -> Judged {
        let operation = self.next_operation();
        self.note_raw(EventKind::Operation, operation, &[kind.as_bytes(), b"\0", text.as_bytes()]);
        let came_before = self.memo.came_before(text);
        if came_before && let Some(judged) = self.memo.recall(text, operation) {
            return judged;
        }
        let asked = self.ask_plugins(operation, text).await;
        self.tick();
        match asked {
            Ok(judged) => {
                if came_before
                    && self.hooks.is_deterministic(Hook::SqlCheck)
                    && self.hooks.is_deterministic(Hook::ApprovalTrigger)
                {
                    self.memo.remember(&judged);
                }
                judged
            }
            Err(fault) => {
                let ruling = Ruling::Refuse(self.fault(operation, &fault));
                Judged { operation, ..Judged::unseen(text.into(), ruling) }
            }
        }
    }

    async fn ask_plugins(&mut self, operation: u64, text: &str) -> Result<Judged, Fault> {
        let now_ms = self.now_ms();
        let judgement = self.hooks.check_sql(text, now_ms).await?;
        let (shape, ruling) = self.memo.shape(judgement.risk, judgement.findings, judgement.statements);
        let mut judged = Judged {
            operation,
            ruling: Ruling::Allow,
            refused_by: judgement.refused_by.map(Into::into),
            risk: shape.risk,
            findings: shape.findings,
            traits: Traits::of(&shape.statements, text),
            statements: shape.statements,
            text: text.into(),
            reached: None,
            allowed: shape.allowed,
        };
        judged.ruling = match (judgement.refusal, ruling) {
            (Some(rule), _) => Ruling::Refuse(rule_refusal(RefusalCode::OperationRefused, &rule)),
            (None, Some(ruling)) => ruling,
            (None, None) => self.ask_triggers(&judged, now_ms).await?,
        };
        if !matches!(judged.ruling, Ruling::Refuse(_)) && self.hooks.triggers_are_blind_to_text() {
            self.memo.remember_ruling(&judged);
        }
        Ok(judged)
    }

    /// Whether anything is masked here.
    pub fn has_masks(&self) -> bool {
        self.hooks.has_masks()
    }

    /// Asks the masks whether a text may use what it uses. A fault refuses it.
    pub async fn check_use(
        &mut self,
        judged: &Judged,
        surroundings: &Surroundings,
    ) -> Result<UseJudgement, Refusal> {
        let now_ms = self.now_ms();
        let asked = self.hooks.check_use(&judged.statements, surroundings, now_ms).await;
        self.tick();
        asked.map_err(|fault| self.fault(judged.operation, &fault))
    }

    /// Takes what the masks said into the ruling. Where it adds anything to look at, the triggers are asked anew. Fails closed:
    /// what only people may allow, and what nothing holds, is refused.
    pub async fn apply_use(&mut self, judged: &mut Judged, judgement: &UseJudgement) {
        let adds = judgement.risk > judged.risk || !judgement.findings.is_empty();
        if adds {
            judged.risk = judged.risk.max(judgement.risk);
            judged.findings = judged.findings.iter().chain(&judgement.findings).cloned().collect();
            // It is not the judgement any more that others share.
            judged.allowed = Rc::default();
        }
        if adds && !matches!(judgement.permission, Use::Refuse(_)) {
            let now_ms = self.now_ms();
            let asked = self.ask_triggers(judged, now_ms).await;
            self.tick();
            judged.ruling = match asked {
                Ok(ruling) => ruling,
                Err(fault) => Ruling::Refuse(self.fault(judged.operation, &fault)),
            };
        }
        if let Some(refusal) = refused_by(judgement, &judged.ruling) {
            judged.ruling = Ruling::Refuse(refusal);
            judged.refused_by = judgement.said_by.as_deref().map(Into::into);
        }
    }

    async fn ask_triggers(&mut self, judged: &Judged, now_ms: u64) -> Result<Ruling, Fault> {
        let Judged { text, statements, risk, findings, .. } = judged;
        let summary = OperationSummary::of(self.protocol, text, statements, *risk, findings, now_ms);
        let holds = self.hooks.holds(&summary).await?;
        Ok(if holds.is_empty() { Ruling::Allow } else { Ruling::Hold(holds) })
    }

    /// Appends the decision; [`Session::commit`] comes before anything is forwarded.
    pub fn note_decision(&mut self, judged: &Judged) {
        let (decision, refusal, count): (_, _, fn(&Activity)) = match &judged.ruling {
            Ruling::Allow => ("allow", None, Activity::allowed),
            Ruling::Refuse(refusal) => ("refuse", Some(refusal), Activity::refused),
            Ruling::Hold(_) => ("hold", None, Activity::held),
        };
        count(&self.activity);
        let Judged { risk, findings, statements, refused_by, .. } = judged;
        let plugin = refused_by.as_deref().filter(|_| refusal.is_some());
        let body = Decision { decision, plugin, risk: *risk, findings, refusal, statements };
        if !matches!(judged.ruling, Ruling::Allow) {
            return self.note(EventKind::Decision, judged.operation, &body);
        }
        // An encoding that failed leaves no JSON, and the recording takes that for a fault of its own (fails closed).
        let words = judged.allowed.get_or_init(|| serde_json::to_vec(&body).unwrap_or_default());
        self.recording.encoded_json(EventKind::Decision, judged.operation, words);
    }

    /// A broken plugin: recorded, logged, and always a refusal.
    pub(super) fn fault(&mut self, operation: u64, fault: &Fault) -> Refusal {
        tracing::error!(session = %self.recording.id(), operation, %fault, "a plugin failed");
        let body = json!({
            "plugin": fault.plugin,
            "hook": fault.hook,
            "kind": fault.kind.as_str(),
            "detail": fault.detail,
        });
        self.note(EventKind::Fault, operation, &body);
        Refusal::new(RefusalCode::PluginFault, "this operation could not be judged, so it was refused")
            .detail(format!("The plugin {} failed in {}: {}.", fault.plugin, fault.hook, fault.kind.as_str()))
            .hint("Tell the operator, for whom the recording has the details. Other operations go on.")
    }

    /// Parks an operation. `shown` is what approvers read, parameters included; `parameters` are the bytes that were bound
    /// to it: what is approved is what runs.
    pub async fn hold(
        &mut self,
        judged: &Judged,
        terms: &[HoldTerms],
        shown: String,
        parameters: &[u8],
    ) -> Result<HeldOperation, Refusal> {
        let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        digest.update(&u64::try_from(judged.text.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(judged.text.as_bytes());
        digest.update(parameters);
        let mut bytes = [0u8; 32];
        bytes.copy_from_slice(digest.finish().as_ref());
        let request = HoldRequest {
            summary: shown,
            digest: bytes,
            risk: judged.risk,
            findings: judged.findings.to_vec(),
            terms: terms.to_vec(),
        };
        let hold = self.grants.hold(&self.permit, request, self.grants.clock().now()).await?;
        self.tick();
        let id = hold.id();
        self.note(EventKind::Hold, judged.operation, &json!({ "hold": id, "terms": terms }));
        Ok(HeldOperation { hold, id })
    }

    /// Records what became of a hold.
    pub fn note_held(&mut self, judged: &Judged, id: HoldId, outcome: &HeldOutcome) {
        let body = match outcome {
            HeldOutcome::Approved(by) => json!({ "hold": id, "outcome": "approved", "by": by }),
            HeldOutcome::Refused(refusal) => {
                json!({ "hold": id, "outcome": refusal.code, "detail": refusal.detail })
            }
        };
        self.note(EventKind::HoldResolved, judged.operation, &body);
    }
}

/// What the masks' answer means to an operation with this ruling: one that people see may use what only they may allow.
pub fn refused_by(judgement: &UseJudgement, ruling: &Ruling) -> Option<Refusal> {
    match (&judgement.permission, ruling) {
        (Use::Refuse(rule), _) | (Use::Approve(rule), Ruling::Allow) => {
            Some(rule_refusal(RefusalCode::OperationRefused, rule))
        }
        (Use::Allow | Use::Approve(_), _) => None,
    }
}

/// A plugin's refusal in the client's words.
pub(super) fn rule_refusal(code: RefusalCode, rule: &RuleRefusal) -> Refusal {
    Refusal::new(code, rule.reason.clone())
        .detail(format!("The rule is {}.", rule.rule))
        .hint(rule.hint.clone())
}
