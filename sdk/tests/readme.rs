//! The plugin and the test of `sdk/README.md`, compiled and run, so that what a newcomer copies works.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing)]

#[rustfmt::skip]
mod shown {
// README: src/lib.rs
use chaperone_sdk::{ApprovalTrigger, Hold, OperationRequest, Session};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Careful { above: u8, approvers: String }

impl ApprovalTrigger for Careful {
    fn decide(&self, _: &Session<'_>, operation: &OperationRequest) -> Option<Hold> {
        let reason = format!("its risk is {} of 100", operation.risk);
        let hold = Hold { approvers: self.approvers.clone(), needed: 1, timeout_seconds: 600, reason };
        (operation.risk > self.above).then_some(hold)
    }
}

chaperone_sdk::plugin!(Careful);
chaperone_sdk::export!(Careful: approval_trigger);
// README: end

// README: the test
use chaperone_sdk::{SessionFacts, configure};

#[test]
fn what_is_riskier_is_held() {
    let careful = configure::<Careful>(r#"{"above": 50, "approvers": "dba"}"#).unwrap();
    let facts = SessionFacts { groups: vec!["triage".into()], ..SessionFacts::default() };
    let operation = OperationRequest {
        protocol: "postgres".into(),
        summary: "DELETE FROM orders".into(),
        classes: vec!["delete.no-where".into()],
        risk: 80,
        findings: vec![],
        now: 0,
    };
    let hold = careful.decide(&Session::from(&facts), &operation).unwrap();
    assert_eq!((hold.approvers.as_str(), hold.needed), ("dba", 1));

    let mistakes = configure::<Careful>(r#"{"above": 500, "approver": "dba"}"#).err().unwrap();
    assert_eq!(mistakes.len(), 2);
    assert_eq!(mistakes[0].pointer, "/above");
}
// README: end
}

#[test]
fn the_readme_shows_exactly_this_code() {
    let readme = include_str!("../README.md");
    let shown: Vec<&str> =
        readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let here: Vec<&str> = include_str!("readme.rs")
        .split("\n// README: ")
        .filter(|part| !part.starts_with("end"))
        .filter_map(|part| part.split_once('\n'))
        .map(|(_, code)| code)
        .skip(1)
        .collect();
    assert_eq!(shown.len(), 2);
    for (shown, here) in shown.iter().zip(&here) {
        assert_eq!(shown.trim_end(), here.trim_end());
    }
    assert_eq!(shown.len(), here.len());
}
