//! What comes back from a plugin: nothing passes the border that is over a bound.

use crate::Became;
use chaperone::fuzzing::plugin::{Source, check, hold, masked, most_bytes, permission, refusal, treatment};
use chaperone::session::Batch;
use chaperone_core::decision::{Finding, MAX_RISK, RuleRefusal, Verdict};
use chaperone_core::sql::{StatementFacts, Treatment, Use};

use chaperone_hooks::limits::{MAX_ANSWER_TEXT_BYTES, MAX_FACTS, MAX_FINDINGS};

/// The first byte chooses the hook.
pub(crate) fn answers(input: &[u8]) -> Became {
    let mut source = Source::new(input);
    let source = &mut source;
    let accepted = match source.byte() % 6 {
        0 => check(source).map(|(assessment, statements)| {
            assert!(assessment.risk <= MAX_RISK);
            if let Verdict::Refuse(why) = &assessment.verdict {
                refused(why);
            }
            found(&assessment.findings);
            assert!(statements.len() <= MAX_FACTS);
            statements.iter().for_each(stated);
        }),
        1 => hold(source).map(|hold| {
            assert!(hold.needed > 0 && hold.timeout_seconds > 0);
            short(&hold.reason);
        }),
        2 => treatment(source).map(|treatment| {
            if let Treatment::Refuse(why) = &treatment {
                refused(why);
            }
        }),
        3 => permission(source).map(|(permission, risk, findings)| {
            assert!(risk <= MAX_RISK);
            found(&findings);
            if let Use::Refuse(why) | Use::Approve(why) = &permission {
                refused(why);
            }
        }),
        4 => refusal(source).map(|why| refused(&why)),
        _ => values(source),
    };
    if accepted.is_some() { Became::Accepted } else { Became::Refused }
}

fn short(text: &str) {
    assert!(text.len() <= MAX_ANSWER_TEXT_BYTES);
}

fn refused(why: &RuleRefusal) {
    [&why.rule, &why.reason, &why.hint].into_iter().for_each(|text| short(text));
}

fn found(findings: &[Finding]) {
    assert!(findings.len() <= MAX_FINDINGS);
    for finding in findings {
        assert!(finding.risk <= MAX_RISK);
        short(&finding.rule);
        short(&finding.detail);
    }
}

fn stated(facts: &StatementFacts) {
    short(&facts.class);
    let lists = [facts.classes.len(), facts.relations.len(), facts.columns.len(), facts.functions.len()];
    assert!(lists.into_iter().all(|length| length <= MAX_FACTS));
    facts.classes.iter().for_each(|class| short(class));
    facts.relations.iter().for_each(|relation| short(&relation.name));
    facts.columns.iter().for_each(|column| short(&column.name));
    facts.functions.iter().for_each(|function| short(&function.name));
    if let Some(copy) = &facts.copy_out {
        assert!(copy.columns.len() <= MAX_FACTS);
        short(&copy.format);
        copy.form.iter().for_each(|form| short(&form.null));
    }
}

/// An answer to a batch that passes the border has a value for each that was asked, and they are its bytes, in order.
fn values(source: &mut Source<'_>) -> Option<()> {
    let mut asked = Batch::new();
    for _ in 0..source.byte() & 15 {
        let value = source.bytes();
        asked.push((value.len() != 3).then_some(value.as_slice()));
    }
    let offsets: Vec<u32> = (0..source.byte() & 31).map(|_| u32::from(source.byte())).collect();
    let (nulls, changed, bytes) = (source.bytes(), source.number() & 31, source.bytes());
    let unchanged = offsets.is_empty();
    let answer = masked(&asked, bytes.clone(), offsets, nulls, changed)?;
    assert!(bytes.len() <= most_bytes(&asked));
    // Without offsets only an answer that has nothing passes: the values are then those that were asked about.
    assert!(!unchanged || (bytes.is_empty() && changed == 0));
    let bytes = if unchanged { asked.bytes.clone() } else { bytes };
    assert!(usize::try_from(answer.changed()).unwrap() <= asked.len());
    let mut joined = Vec::new();
    for index in 0..asked.len() {
        joined.extend_from_slice(answer.value(index).expect("a value for each").unwrap_or_default());
    }
    assert_eq!(joined, bytes);
    assert_eq!(answer.value(asked.len() + 7), None);
    Some(())
}
