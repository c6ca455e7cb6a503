//! `chaperone check --samples`: how a target's plugins rule on sample statements, before an agent tries them.
//!
//! The plugins are loaded and asked as in a session, so that what is said here is what happens there. What is not asked: the
//! masks, which see results and not texts, and what the protocol refuses on top (such as PREPARE of what needs approval).

mod file;

use super::check::not_loaded;
use super::failure::{Exit, Failure};
use super::print::{self, Audience, Column};
use crate::config::{self, Config};
use crate::gateway::run::chain_for_samples;
use chaperone_core::Timestamp;
use chaperone_core::decision::{HoldTerms, RuleRefusal};
use chaperone_core::identity::CallerKind;
use chaperone_hooks::{Fault, OperationSummary, SessionFacts, SessionHooks, SqlJudgement};
use file::{Expected, Sample};
use serde_json::{Value, json};
use std::path::Path;

const COLUMNS: [Column; 7] = [
    Column { title: "LINE", pointer: "/line" },
    Column { title: "DECISION", pointer: "/decision" },
    Column { title: "EXPECTED", pointer: "/verdict" },
    Column { title: "CLASS", pointer: "/classes" },
    Column { title: "RULE", pointer: "/rule" },
    Column { title: "RISK", pointer: "/risk" },
    Column { title: "WHY", pointer: "/why" },
];

/// How one sample was ruled on.
enum Ruling {
    Allow,
    Refuse(RuleRefusal),
    Hold(Vec<HoldTerms>),
}

/// Judges every sample of a file and prints what became of it.
pub(crate) async fn run(
    configuration: &Path,
    samples: &Path,
    target: Option<&str>,
    audience: Audience,
) -> Result<Exit, Failure> {
    let samples = file::read(samples)?;
    let config = config::without_secrets(configuration).map_err(|error| not_loaded(error, audience))?;
    let target = target_of(&config, target)?;
    let chain = chain_for_samples(&config, target).await;
    let chain = chain.map_err(|error| Failure::usage(error.to_string(), error.advice))?;
    let mut rows = Vec::with_capacity(samples.len());
    for sample in &samples {
        // Instances of its own for each: what one breaks, the next does not feel.
        let mut hooks = chain.open(facts(target)).await.map_err(|fault| broken(&fault))?;
        rows.push(row(sample, judge(&mut hooks, &sample.text).await));
    }
    let unexpected = rows.iter().filter(|row| row["as_expected"] == false).count();
    match audience {
        Audience::Programs => {
            print::json(&json!({ "target": target, "samples": rows, "unexpected": unexpected }))
        }
        Audience::People => {
            print::out(&print::table(&rows, &COLUMNS, "no samples"));
            print::out(&summary(&rows, unexpected));
        }
    }
    Ok(if unexpected == 0 { Exit::Done } else { Exit::Refused })
}

/// The named target, or the only one.
fn target_of<'c>(config: &'c Config, named: Option<&'c str>) -> Result<&'c str, Failure> {
    let names: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
    match (named, names.as_slice()) {
        (Some(named), names) if names.contains(&named) => Ok(named),
        (None, [only]) => Ok(only),
        (Some(named), _) => {
            let what = format!("the configuration has no target `{named}`");
            Err(Failure::usage(what, format!("its targets are: {}", names.join(", "))))
        }
        (None, _) => {
            let what = "the configuration has several targets";
            Err(Failure::usage(what, format!("choose one with `--target`: {}", names.join(", "))))
        }
    }
}

/// An agent of whom nothing but that is known.
fn facts(target: &str) -> SessionFacts {
    SessionFacts {
        principal: "samples/samples/samples".into(),
        caller_kind: CallerKind::Agent,
        target: target.to_owned(),
        groups: Vec::new(),
        requested_role: String::new(),
    }
}

fn broken(fault: &Fault) -> Failure {
    let what = format!("plugin {} failed in {}: {}", fault.plugin, fault.hook, fault.kind.as_str());
    Failure::usage(what, "mend the plugin")
}

/// As `Session::judge_sql` does it: checks first, then triggers about what no check refused.
async fn judge(hooks: &mut SessionHooks, text: &str) -> Result<(SqlJudgement, Ruling), Fault> {
    let now_ms = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0);
    let judgement = hooks.check_sql(text, now_ms).await?;
    if let Some(refusal) = judgement.refusal.clone() {
        return Ok((judgement, Ruling::Refuse(refusal)));
    }
    let SqlJudgement { statements, risk, findings, .. } = &judgement;
    let operation = OperationSummary::of("postgres", text, statements, *risk, findings, now_ms);
    let holds = hooks.holds(&operation).await?;
    Ok((judgement, if holds.is_empty() { Ruling::Allow } else { Ruling::Hold(holds) }))
}

fn row(sample: &Sample, judged: Result<(SqlJudgement, Ruling), Fault>) -> Value {
    let (decision, rule, why, help, classes, risk) = match judged {
        // As in a session: a plugin that breaks refuses.
        Err(fault) => {
            let why = format!("plugin {} failed in {}: {}", fault.plugin, fault.hook, fault.kind.as_str());
            ("refuse", Some("plugin-fault".to_owned()), why, None, Vec::new(), 100)
        }
        Ok((judgement, ruling)) => {
            let classes: Vec<String> = judgement.statements.into_iter().map(|facts| facts.class).collect();
            let findings = || {
                let details = judgement.findings.iter().map(|finding| finding.detail.clone());
                details.collect::<Vec<_>>().join("; ")
            };
            let (decision, rule, why, help) = match ruling {
                Ruling::Allow => ("allow", None, findings(), None),
                Ruling::Hold(terms) => ("hold", None, held(&terms), None),
                Ruling::Refuse(refusal) => ("refuse", Some(refusal.rule), refusal.reason, Some(refusal.hint)),
            };
            (decision, rule, why, help, classes, judgement.risk)
        }
    };
    let as_expected = sample.expected.as_ref().map(|expected| match expected {
        Expected::Allow => decision == "allow",
        Expected::Hold => decision == "hold",
        Expected::Refuse(wanted) => {
            decision == "refuse" && wanted.as_deref().is_none_or(|wanted| rule.as_deref() == Some(wanted))
        }
    });
    let expected = sample.expected.as_ref().map(ToString::to_string);
    let verdict = match (as_expected, &expected) {
        (Some(true), _) => Some("yes".to_owned()),
        (Some(false), Some(expected)) => Some(format!("NO: {expected}")),
        _ => None,
    };
    json!({
        "line": sample.line,
        "text": sample.text,
        "decision": decision,
        "rule": rule,
        "why": why,
        "help": help,
        "classes": classes,
        "risk": risk,
        "expected": expected,
        "as_expected": as_expected,
        "verdict": verdict,
    })
}

fn held(terms: &[HoldTerms]) -> String {
    let held = terms.iter().map(|terms| format!("{} of {}: {}", terms.needed, terms.approvers, terms.reason));
    held.collect::<Vec<_>>().join("; ")
}

fn summary(rows: &[Value], unexpected: usize) -> String {
    let count = |decision: &str| rows.iter().filter(|row| row["decision"] == decision).count();
    let (allowed, refused, held) = (count("allow"), count("refuse"), count("hold"));
    let expected = rows.iter().filter(|row| !row["expected"].is_null()).count();
    format!(
        "{allowed} allowed, {refused} refused, {held} held; {unexpected} of {expected} expectations failed\n"
    )
}
